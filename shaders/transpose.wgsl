// out (n, ldo) = in^T, in (m, n) with row stride ldi; a workgroup moves an 8 x 8 block.
//   Columns of out beyond m (its padding) stay as they are.
//# uniforms m n ldi ldo col0
//# tensor source : read
//# tensor out : ${PART ? read_write : write}

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let across = (u.m + 7u) / 8u;
  let index = group_index(group, groups);
  let row = (index % across) * 8u + lane; // of the source: lanes write side by side
  if (row >= u.m) { return; }
  let column = (index / across) * 8u;
  for (var i = column; i < min(column + 8u, u.n); i++) {
    store_out(i * u.ldo + u.col0 + row, load_source(row * u.ldi + i));
  }
}
