// out (n, ldo) = in^T, in (m, n) with row stride ldi; a workgroup moves 8 blocks side by side of N x N, a thread one.
//   Columns of out beyond m (its padding) stay as they are.
//   VEC 1: N = 4, for whole groups of four in all sizes and places.
//# let N = VEC ? 4 : 8
//# let FORM = VEC ? vec4 : f32
//# uniforms m n ldi ldo col0
//# tensor source : read ${FORM}
//# tensor out : ${PART ? read_write : write} ${FORM}

//# threads 8
fn kernel(group: u32, lane: u32) {
//# if VEC
  let across = (u.m + 31u) / 32u;
  let row = ((group % across) * 8u + lane) * 4u; // of the source: lanes write side by side
  if (row >= u.m) { return; }
  let column = (group / across) * 4u;
//#   for i in 0..4
  let row${i} = load4_source(((row + ${i}u) * u.ldi + column) / 4u);
//#   end
//#   for i in 0..4
  store4_out(((column + ${i}u) * u.ldo + u.col0 + row) / 4u, vec4f(row0[${i}], row1[${i}], row2[${i}], row3[${i}]));
//#   end
//# else
  let across = (u.m + 7u) / 8u;
  let row = (group % across) * 8u + lane; // of the source: lanes write side by side
  if (row >= u.m) { return; }
  let column = (group / across) * 8u;
  for (var i = column; i < min(column + 8u, u.n); i++) {
    store_out(i * u.ldo + u.col0 + row, load_source(row * u.ldi + i));
  }
//# end
}
