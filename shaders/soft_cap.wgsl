// x becomes cap * tanh(x / cap), in place.
//# include rows
//# uniforms width cap:f32
//# tensor x : read_write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= live_rows() * u.width) { return; }
  // tanh by way of exp, which every driver computes well; beyond 10 it is 1 in f32. The cap multiplies its error, so
  // that small ones, where 1 - 2 / (exp + 1) loses digits, are a series.
  let z = clamp(load_x(i) / u.cap, -10.0, 10.0);
  let s = z * z;
  let series = z * (1.0 - s * (1.0 / 3.0 - s * (2.0 / 15.0 - s * (17.0 / 315.0 - s * (62.0 / 2835.0)))));
  store_x(i, u.cap * select(1.0 - 2.0 / (exp(2.0 * z) + 1.0), series, s < 0.0625));
}
