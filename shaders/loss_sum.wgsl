// sums += (sum of cross entropies, sum of lse^2, number of targets) of a micro-batch's rows.
// Order: 64 chains, row r in chain r % 64, added as a tree, then to the old sums.
//# include rows
//# tensor targets : read i32
//# tensor losses : read
//# tensor sums : read_write

var<workgroup> chains: array<vec3f, 64>;

//# threads 64
fn kernel(group: u32, lane: u32) {
  var chain = vec3f();
  let rows = live_rows();
  for (var row = lane; row < rows; row += 64u) {
    chain += vec3f(load_losses(row * 2u), load_losses(row * 2u + 1u), select(0.0, 1.0, load_targets(row) >= 0));
  }
  chains[lane] = chain;
//# for step in 0..6
//#   let HALF = step == 0 ? 32 : step == 1 ? 16 : step == 2 ? 8 : step == 3 ? 4 : step == 4 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[lane] += chains[lane + ${HALF}u]; }
//# end
  if (lane > 0u) { return; }
  store_sums(0u, load_sums(0u) + chains[0].x);
  store_sums(1u, load_sums(1u) + chains[0].y);
  store_sums(2u, load_sums(2u) + chains[0].z);
}
