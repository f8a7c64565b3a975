// y = x * (0 or 1 / (1 - rate)), keyed by (seed, step, site, sample, element); the backward is the same, from dy to dx.
//# include rows
//# include random
//# uniforms width seed site threshold scale:f32
//# tensor x : read
//# tensor samples : read u32
//# tensor y : ${ACC ? read_write : write}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= live_rows() * u.width) { return; }
  let token = u.row0 + i / u.width;
  let key = dropout_key(u.seed, u.site, load_samples(token / live.columns));
  let element = (token % live.columns) * u.width + i % u.width;
  let value = load_x(i) * dropout_factor(key, element, u.threshold, u.scale);
//# if ACC
  store_y(i, load_y(i) + value);
//# else
  store_y(i, value);
//# end
}
