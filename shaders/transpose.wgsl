// out (n, ldo) = in^T, in (m, n) with row stride ldi; a workgroup moves an 8 x 8 block.
//   Columns of out beyond m (its padding) stay as they are.
//# uniforms m n ldi ldo col0
//# tensor source : read
//# tensor out : ${PART ? read_write : write}

//# threads 8
fn kernel(group: u32, lane: u32) {
  let across = (u.m + 7u) / 8u;
  let row = (group % across) * 8u + lane; // of the source: lanes write side by side
  if (row >= u.m) { return; }
  let column = (group / across) * 8u;
  for (var i = column; i < min(column + 8u, u.n); i++) {
    store_out(i * u.ldo + u.col0 + row, load_source(row * u.ldi + i));
  }
}
