// out = a + b, out += a, or out = a; elementwise over (rows, width), four values a thread.
//   BINARY 1: out = a + b. ACC 1: out += a.
//# include rows
//# uniforms width
//# tensor a : read vec4
//# if BINARY
//# tensor b : read vec4
//# end
//# tensor out : ${ACC ? read_write : write} vec4

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = group_index(group, groups) * 64u + lane;
  if (i * 4u >= live_rows() * u.width) { return; }
  var value = load4_a(i);
//# if BINARY
  value += load4_b(i);
//# end
//# if ACC
  value += load4_out(i);
//# end
  store4_out(i, value);
}
