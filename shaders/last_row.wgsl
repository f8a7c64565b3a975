// y (1, width) = row live.last of x.
//# uniforms width
//# tensor x : read
//# tensor y : write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let c = group * 64u + lane;
  if (c < u.width) { store_y(c, load_x(live.last * u.width + c)); }
}
