// The sum over a workgroup's 64 lanes as a tree: lane l and l + 32, then 16, 8, 4, 2, 1. All lanes must call it, once.
var<workgroup> chains: array<${SUM}, 64>;

fn tree(lane: u32, chain: ${SUM}) -> ${SUM} {
  chains[lane] = chain;
//# for step in 0..6
//#   let HALF = step == 0 ? 32 : step == 1 ? 16 : step == 2 ? 8 : step == 3 ? 4 : step == 4 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[lane] += chains[lane + ${HALF}u]; }
//# end
  workgroupBarrier();
  return chains[0];
}
