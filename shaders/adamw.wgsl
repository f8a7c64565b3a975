// AdamW (Loshchilov and Hutter 2019) on a stretch of the arenas; the gradient is multiplied by the factor that holds
// 1 / targets and the clipping. Does nothing while the halt flag is up.
//# uniforms count beta1:f32 beta2:f32 eps:f32 decay:f32
//# tensor control : read
//# tensor gradients : read vec4
//# tensor weights : read_write vec4
//# tensor moment1 : read_write vec4
//# tensor moment2 : read_write vec4

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i * 4u >= u.count || load_control(0u) != 0.0) { return; }
  let g = load4_gradients(i) * load_control(1u);
  let m = u.beta1 * load4_moment1(i) + (1.0 - u.beta1) * g;
  let v = u.beta2 * load4_moment2(i) + (1.0 - u.beta2) * g * g;
  store4_moment1(i, m);
  store4_moment2(i, v);
  let kept = load4_weights(i) * (1.0 - live.learningRate * u.decay);
  store4_weights(i, kept - live.learningRate * (m * live.correction1) / (sqrt(v * live.correction2) + u.eps));
}
