// What the attention kernels share.
//
// qkv (B*T, W), W = (NH + 2 NK) * HS: all query heads of a token, then its key heads, then its value heads. Query
// head h reads key head h / (NH / NK). A query at column i looks at the keys of the cache and at columns 0 to i.
//
// Queries come in blocks of 64 rows. The products of a block's queries with the keys up to it lie in a scratch of
// (pairs, 64, pitch), one pair for each head of each sample; pitch is the number of keys, rounded up to 4.
// A dispatch covers `samples` samples from `sample0` on, and `kv_heads` key heads from `kv_head0` on.
//# uniforms sample0 samples kv_head0 kv_heads block pitch width NH NK HS

// Query heads that share a key head.
fn group_size() -> u32 { return u.NH / u.NK; }
const ROWS = 64u; // queries in a block

// The number of samples of this window that are in use.
fn live_samples() -> u32 { return min(u.samples, max(live.batch, u.sample0) - u.sample0); }
fn first_query() -> u32 { return u.block * ROWS; }
// Queries of this block.
fn block_rows() -> u32 { return min(ROWS, max(live.columns, first_query()) - first_query()); }
// Keys that the last query of this block sees.
fn block_keys() -> u32 { return live.start + first_query() + block_rows(); }
