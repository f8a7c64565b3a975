// out = a + b, out += a, or out = a; elementwise over (rows, width).
//   BINARY 1: out = a + b. ACC 1: out += a. VEC 1: four values a thread.
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms width
//# tensor a : read ${FORM}
//# if BINARY
//# tensor b : read ${FORM}
//# end
//# tensor out : ${ACC ? read_write : write} ${FORM}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = group_index(group, groups) * 64u + lane;
  if (i * ${VEC ? 4 : 1}u >= live_rows() * u.width) { return; }
  var value = ${LOAD}_a(i);
//# if BINARY
  value += ${LOAD}_b(i);
//# end
//# if ACC
  value += ${LOAD}_out(i);
//# end
  ${STORE}_out(i, value);
}
