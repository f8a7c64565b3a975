// y = x * factor, or y += x * factor (ACC 1).
//# include rows
//# uniforms width factor:f32
//# tensor x : read
//# tensor y : ${ACC ? read_write : write}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= live_rows() * u.width) { return; }
//# if ACC
  store_y(i, fma(load_x(i), u.factor, load_y(i)));
//# else
  store_y(i, load_x(i) * u.factor);
//# end
}
