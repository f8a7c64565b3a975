// Adafactor (Shazeer and Stern 2018) on whole rows of a matrix, or on a stretch of a vector as one row: the step along the update,
// once moments and length are known; the gradient is multiplied by the factor that holds 1 / targets and the clipping. A lane has
// one column, or with VEC (the width is a multiple of 4) four, of ROWS rows. Does nothing while the halt flag is up.
//   FACTORED 1: the second moment is that of a matrix. FACTORED 0: a vector's.
//   MOMENTUM 1: moment1 is the moving mean of the steps, and what is subtracted.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# uniforms rows width decay:f32
//# tensor control : read
//# tensor gradients : read ${FORM}
//# tensor step : read
//# tensor weights : read_write ${FORM}
//# if FACTORED
//# tensor row_moment : read
//# tensor mean : read
//# tensor column_scale : read ${FORM}
//# else
//# tensor moment2 : read ${FORM}
//# end
//# if MOMENTUM
//# uniforms beta1:f32
//# tensor moment1 : read_write ${FORM}
//# end

//# threads 64
fn kernel(group: u32, lane: u32) {
  let width = u.width / ${N}u;
  let across = (width + 63u) / 64u;
  let column = (group % across) * 64u + lane;
  // In a warm-up, where nothing is in use, the share is 0.
  if (column >= width || load_control(0u) != 0.0 || live.freshShare == 0.0) { return; }
//# if FACTORED
  let column_scale = load_control(1u) * ${LOAD}_column_scale(column);
//# else
  let column_scale = load_control(1u) * inverseSqrt(${LOAD}_moment2(column));
//# end
  let kept = 1.0 - live.learningRate * u.decay;
  let first = group / across * ${ROWS}u;
  for (var row = first; row < min(first + ${ROWS}u, u.rows); row++) {
    let i = row * width + column;
//# if FACTORED
    let update = ${LOAD}_gradients(i) * column_scale * inverseSqrt(load_row_moment(row) / load_mean(0u));
//# else
    let update = ${LOAD}_gradients(i) * column_scale;
//# end
//# if MOMENTUM
    let step = u.beta1 * ${LOAD}_moment1(i) + (1.0 - u.beta1) * load_step(0u) * update;
    ${STORE}_moment1(i, step);
//# else
    let step = load_step(0u) * update;
//# end
    ${STORE}_weights(i, ${LOAD}_weights(i) * kept - step);
  }
}
