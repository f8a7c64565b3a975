// Sums over rows of u.width values: sum<s>(row, lane, slot, mean, scale), for s in 0..SUMS, adds the row's terms
// term<s>(row, c, mean, scale), of column c or, with VEC, of columns 4 c to 4 c + 3.
//
// Order: 32 chains, column c in chain c % 32, added as a tree (chain l and l + 16, then 8, 4, 2, 1).
// LANES 32: a chain a lane; slot is the thread, and all threads of the workgroup must call it.
// LANES 1: a thread computes all chains of its row. VEC 1: the width is a multiple of 4; LANES 1 only.
// ROWS: rows of a workgroup, of LANES threads each.

//# if LANES == 32
var<workgroup> chains: array<f32, ${32 * ROWS}>;
//# end

//# for s in 0..SUMS
fn sum${s}(row: u32, lane: u32, slot: u32, mean: f32, scale: f32) -> f32 {
//#   if LANES == 32
  var sum = 0.0;
  for (var c = lane; c < u.width; c += 32u) { sum += term${s}(row, c, mean, scale); }
  workgroupBarrier();
  chains[slot] = sum;
//#     for step in 0..5
//#       let HALF = step == 0 ? 16 : step == 1 ? 8 : step == 2 ? 4 : step == 3 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[slot] += chains[slot + ${HALF}u]; }
//#     end
  workgroupBarrier();
  return chains[slot - lane];
//#   else
  var chains: array<vec4f, 8>; // four chains each
  let last = u.width - 1u;
  for (var j = 0u; j < 8u; j++) {
    var sum = vec4f();
//#     if VEC
    for (var c = j; c < u.width / 4u; c += 8u) { sum += term${s}(row, c, mean, scale); }
//#     else
    for (var c = 4u * j; c < u.width; c += 32u) {
      let value = vec4f(
        term${s}(row, c, mean, scale),
        term${s}(row, min(c + 1u, last), mean, scale),
        term${s}(row, min(c + 2u, last), mean, scale),
        term${s}(row, min(c + 3u, last), mean, scale),
      );
      sum += select(vec4f(), value, vec4u(c) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last));
    }
//#     end
    chains[j] = sum;
  }
  let by16 = array<vec4f, 4>(
    chains[0] + chains[4],
    chains[1] + chains[5],
    chains[2] + chains[6],
    chains[3] + chains[7],
  );
  let by4 = (by16[0] + by16[2]) + (by16[1] + by16[3]);
  return (by4.x + by4.z) + (by4.y + by4.w);
//#   end
}
//# end
