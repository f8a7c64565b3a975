// y (1, width) = row live.last of x.
//# uniforms width
//# tensor x : read
//# tensor y : write

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let c = group.x * 64u + lane;
  if (c < u.width) { store_y(c, load_x(live.last * u.width + c)); }
}
