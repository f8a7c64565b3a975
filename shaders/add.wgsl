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

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
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
