// A hash of the weights' bits, which tells nodes of a group whether they have the same: integers alone, so that
// neither order nor rounding of an adapter enters.
//   STEP blocks: partial[i] = hash of the i-th block of words.
//   STEP total:  the hash of those; 24 bits of it, which a float32 holds, go behind the sums.
//
// A chain is the polynomial of its words, see `mixed`. In a block 64 chains (word e in chain e % 64), each multiplied
// by an odd number of its own, then added; the blocks' hashes likewise. So any one word that differs changes the whole.
//# if STEP == blocks
//# uniforms count block0
//# tensor words : read u32
//# tensor partial : ${FIRST ? write : read_write} u32
//# else
//# uniforms count
//# tensor words : read u32
//# tensor sums : read_write
//# end

//# let SUM = u32
//# include tree

const FACTOR = 0xc2b2ae35u;

fn mixed(word: u32) -> u32 { return word ^ (word >> 16u); }

//# threads 64
fn kernel(group: u32, lane: u32) {
//# if STEP == blocks
  let start = group * ${BLOCK}u;
  let end = min(start + ${BLOCK}u, u.count);
//# else
  let start = 0u;
  let end = u.count;
//# end
  var chain = 0u;
  for (var i = start + lane; i < end; i += 64u) { chain = chain * FACTOR + mixed(load_words(i)); }
  let hash = tree(lane, chain * (2u * lane + 1u));
//# if STEP == blocks
  if (lane == 0u && start < end) { store_partial(u.block0 + group, hash); }
//# else
  if (lane > 0u) { return; }
  let spread = mixed(hash) * FACTOR;
  store_sums(3u, f32((spread ^ (spread >> 15u)) >> 8u));
//# end
}
