// What the attention kernels share.
//
// Heads lie side by side in the rows of the tensors: head h of row r begins at r * width + offset + h * HS. Query head
// h reads key head h / (NH / NK). Keys are the tokens themselves (KEYS own), those of the encoder (source), or those
// of a cache.
//
// spans (B*T, 2): the keys that each query sees, from (inclusive) to (exclusive); neither falls along a row. Where
// `window` is not 0, a query sees the last `window` of them, itself included.
//
// Queries come in blocks of 64 rows. The products of a block's queries with keys lie in a scratch of
// (pairs, 64, pitch), one pair for each head of each sample; its columns are the keys from `first_key` on.
// A dispatch covers `samples` samples from `sample0` on, and `kv_heads` key heads from `kv_head0` on.
//# uniforms sample0 samples kv_head0 kv_heads block first_key pitch cache_rows window NH NK HS
//# tensor spans : read u32

// Query heads that share a key head.
fn group_size() -> u32 { return u.NH / u.NK; }
const ROWS = 64u; // queries in a block

// The number of samples of this window that are in use.
fn live_samples() -> u32 { return min(u.samples, max(live.batch, u.sample0) - u.sample0); }
fn first_query() -> u32 { return u.block * ROWS; }
// Queries of this block.
fn block_rows() -> u32 { return min(ROWS, max(live.columns, first_query()) - first_query()); }
// Keys of a sample.
fn key_rows() -> u32 {
//# if KEYS == own
  return live.columns;
//# end
//# if KEYS == source
  return live.source;
//# end
//# if KEYS == cache
  return u.cache_rows;
//# end
}
// Columns of the scratch that a block uses. CAUSAL 1: no query sees a key behind itself.
fn block_keys() -> u32 {
//# if CAUSAL
  return live.start + first_query() + block_rows() - u.first_key;
//# else
  return key_rows() - u.first_key;
//# end
}
// The columns of the scratch that query `row` of this block sees.
fn seen_from(sample: u32, row: u32) -> u32 {
  let i = first_query() + row;
  var first = load_spans((sample * live.columns + i) * 2u);
  if (u.window > 0u) { first = max(first, max(live.start + i + 1u, u.window) - u.window); }
  return max(first, u.first_key) - u.first_key;
}
fn seen_to(sample: u32, row: u32) -> u32 {
  return load_spans((sample * live.columns + first_query() + row) * 2u + 1u) - u.first_key;
}
