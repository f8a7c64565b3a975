// sums += (sum of cross entropies, sum of lse^2, number of targets) of a micro-batch's rows.
// Order: 64 chains, row r in chain r % 64, added as a tree, then to the old sums.
//# include rows
//# tensor targets : read i32
//# tensor losses : read
//# tensor sums : read_write
//# let SUM = vec3f
//# include tree

//# threads 64
fn kernel(group: u32, lane: u32) {
  var chain = vec3f();
  let rows = live_rows();
  for (var row = lane; row < rows; row += 64u) {
    chain += vec3f(load_losses(row * 2u), load_losses(row * 2u + 1u), select(0.0, 1.0, load_targets(row) >= 0));
  }
  let sum = tree(lane, chain);
  if (lane > 0u) { return; }
  store_sums(0u, load_sums(0u) + sum.x);
  store_sums(1u, load_sums(1u) + sum.y);
  store_sums(2u, load_sums(2u) + sum.z);
}
