// The global gradient norm as a fixed tree.
//   STEP blocks: partial[i] = sum of squares of the i-th block of gradients, each divided by the number of targets. GOES_ON 1:
//                the gradients are later ones of a block that was begun. ENDS 0: the block goes on in another window.
//   STEP total:  the norm, the clip factor, the verdict on this step, and its line in the ring of results.
//
// Order: in a block 256 chains (element e in chain e % 256), then a tree over the four of a lane and one over the
// lanes; the blocks' sums in 64 chains, then a tree.
//# if STEP == blocks
//# uniforms count block0
//# tensor gradients : read vec4
//# tensor sums : read
//#   if ENDS
//# tensor partial : ${FIRST ? write : read_write}
//#   end
//#   if GOES_ON || !ENDS
//# tensor begun : ${GOES_ON ? ENDS ? read : read_write : write} vec4
//#   end
//# else
//# uniforms blocks clip:f32
//# tensor partial : read
//# tensor sums : read
//# tensor control : read_write
//# tensor ring : read_write
//# end

//# let SUM = f32
//# include tree

// By its bits: comparisons with NaN can't be relied on.
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

//# threads 64
fn kernel(group: u32, lane: u32) {
//# if STEP == blocks
  let block = group;
  let inverse = 1.0 / max(load_sums(2u), 1.0);
  let start = block * ${BLOCK / 4}u;
  let end = min(start + ${BLOCK / 4}u, u.count / 4u);
//#   if GOES_ON
  var chain = load4_begun(lane);
//#   else
  var chain = vec4f();
//#   end
  for (var i = start + lane; i < end; i += 64u) {
    let g = load4_gradients(i) * inverse;
    chain = fma(g, g, chain);
  }
//#   if ENDS
  let sum = tree(lane, (chain.x + chain.z) + (chain.y + chain.w));
  if (lane == 0u && start < end) { store_partial(u.block0 + block, sum); }
//#   else
  store4_begun(lane, chain);
//#   end
//# else
  var chain = 0.0;
  for (var i = lane; i < u.blocks; i += 64u) { chain += load_partial(i); }
  let squares = tree(lane, chain);
  if (lane > 0u) { return; }
  let norm = sqrt(squares);
  let loss = load_sums(0u);
  let count = load_sums(2u);
  // Once up, the flag stays up until the host takes it down: no later step is applied before it has decided.
  let halt = select(1.0, load_control(0u), is_finite(squares) && is_finite(loss));
  var factor = 1.0 / max(count, 1.0);
  if (u.clip > 0.0) { factor *= min(1.0, u.clip / (norm + 1e-6)); }
  store_control(0u, halt);
  store_control(1u, factor);
  let at = live.slot * 8u;
  store_ring(at, f32(live.step));
  store_ring(at + 1u, loss);
  store_ring(at + 2u, load_sums(1u));
  store_ring(at + 3u, count);
  store_ring(at + 4u, norm);
  store_ring(at + 5u, halt);
//# end
}
