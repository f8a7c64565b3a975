// Adafactor (Shazeer and Stern 2018) on a stretch of a parameter's elements: the step along the update, after its moments and its
// length are known; the gradient is multiplied by the factor that holds 1 / targets and the clipping. Does nothing while the halt
// flag is up.
//   FACTORED 1: a matrix, of which the stretch is whole rows. FACTORED 0: a vector.
//   MOMENTUM 1: moment1 is the moving mean of the steps, and what is subtracted. VEC 1: the width is a multiple of 4.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# uniforms count decay:f32
//# tensor control : read
//# tensor gradients : read ${FORM}
//# tensor step : read
//# tensor weights : read_write ${FORM}
//# if FACTORED
//# uniforms width
//# tensor row_moment : read
//# tensor column_moment : read ${FORM}
//# tensor mean : read
//# else
//# tensor moment2 : read ${FORM}
//# end
//# if MOMENTUM
//# uniforms beta1:f32
//# tensor moment1 : read_write ${FORM}
//# end

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  // In a warm-up, where nothing is in use, the share is 0.
  if (i * ${N}u >= u.count || load_control(0u) != 0.0 || live.freshShare == 0.0) { return; }
//# if FACTORED
  let width = u.width / ${N}u;
  let scale = load_control(1u) * inverseSqrt(load_row_moment(i / width) / load_mean(0u));
  let update = ${LOAD}_gradients(i) * scale * inverseSqrt(${LOAD}_column_moment(i % width));
//# else
  let update = ${LOAD}_gradients(i) * load_control(1u) * inverseSqrt(${LOAD}_moment2(i));
//# end
//# if MOMENTUM
  let step = u.beta1 * ${LOAD}_moment1(i) + (1.0 - u.beta1) * load_step(0u) * update;
  ${STORE}_moment1(i, step);
//# else
  let step = load_step(0u) * update;
//# end
  ${STORE}_weights(i, ${LOAD}_weights(i) * (1.0 - live.learningRate * u.decay) - step);
}
