// Sums over rows, in two steps: a chain over each block of BLOCK rows, then a chain over the blocks. One column a lane.
//   STEP blocks: partial (blocks, width) from dy (rows, width); NORM 1: partial2 too, of dy * normalised x.
//   STEP total:  out += the blocks' sums, in order.
//# include rows
//# uniforms width
//# if STEP == blocks
//# tensor dy : read
//#   if NORM
//# tensor x : read
//# tensor stats : read
//# tensor scaled : write
//#   end
//#   if PLAIN
//# tensor partial : write
//#   end
//# else
//# tensor partial : read
//# tensor out : read_write
//# end

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let across = (u.width + 63u) / 64u;
  let index = group_index(group, groups);
  let column = (index % across) * 64u + lane;
  if (column >= u.width) { return; }
//# if STEP == blocks
  let block = index / across;
  let end = min((block + 1u) * ${BLOCK}u, live_rows());
  var sum = 0.0;
  var scaled_sum = 0.0;
  for (var row = block * ${BLOCK}u; row < end; row++) {
    let g = load_dy(row * u.width + column);
    sum += g;
//#   if NORM
    let xhat = (load_x(row * u.width + column) - load_stats(row * 2u)) * load_stats(row * 2u + 1u);
    scaled_sum = fma(g, xhat, scaled_sum);
//#   end
  }
//#   if PLAIN
  store_partial(block * u.width + column, sum);
//#   end
//#   if NORM
  store_scaled(block * u.width + column, scaled_sum);
//#   end
//# else
  let blocks = (live_rows() + ${BLOCK - 1}u) / ${BLOCK}u;
  var sum = load_out(column);
  for (var block = 0u; block < blocks; block++) { sum += load_partial(block * u.width + column); }
  store_out(column, sum);
//# end
}
