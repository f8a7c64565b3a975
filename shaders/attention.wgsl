// What the attention kernels share.
//
// Key heads of all samples are numbered sample * NK + head. A dispatch covers `kvs` of them from `first_kv` on; of the
// NH / NK query heads that read each, `members` from `first_member` on; and `rows` queries from `first_query` on. A
// pair is a query head of a sample. The products of the queries with their keys lie in a scratch of
// (pairs, rows, pitch), whose columns are the keys from `first_key` on.
//
//   KEYS own: the tokens themselves; source: those of the encoder; cache: those of a cache.
//   ROWS 1: heads lie side by side in rows of tokens: head h of row r begins at r * width + offset + h * HS.
//   ROWS 0: heads lie behind one another, (B, heads, T or S, HS), and what is bound begins at the dispatch's first row.
//
// spans (B*T, 2): the keys that each query sees, from (inclusive) to (exclusive); neither falls along a row. Where
// `window` is not 0, a query sees the last `window` of them, itself included.
//# uniforms first_kv kvs first_member members first_query rows first_key pitch T S window NH NK HS
//# tensor spans : read u32

// Query heads that share a key head.
fn group_size() -> u32 { return u.NH / u.NK; }
// The number of key heads of this dispatch that are in use.
fn live_kvs() -> u32 { return min(u.kvs, max(live.batch * u.NK, u.first_kv) - u.first_kv); }
fn sample_of(kv: u32) -> u32 { return (u.first_kv + kv) / u.NK; }
fn key_head(kv: u32) -> u32 { return (u.first_kv + kv) % u.NK; }
fn query_head(pair: u32) -> u32 {
  return key_head(pair / u.members) * group_size() + u.first_member + pair % u.members;
}
// The number of a pair among all query heads, counted from the dispatch's first one on.
fn pair_at(pair: u32) -> u32 { return pair / u.members * group_size() + pair % u.members; }

// Where the first query of a pair begins.
fn queries_at(pair: u32, width: u32, offset: u32) -> u32 {
//# if ROWS
  let token = sample_of(pair / u.members) * live.columns + u.first_query;
  return token * width + offset + query_head(pair) * u.HS;
//# else
  return pair_at(pair) * u.T * u.HS;
//# end
}
// Where key `key` of a key head begins (ROWS 0: the first one that is bound).
fn keys_at(kv: u32, key: u32, width: u32, offset: u32) -> u32 {
//# if ROWS
  return (sample_of(kv) * key_rows() + key) * width + offset + key_head(kv) * u.HS;
//# else
  return kv * u.S * u.HS;
//# end
}

// Queries that are in use.
fn block_rows() -> u32 { return min(u.rows, max(live.columns, u.first_query) - u.first_query); }
// Keys of a sample.
fn key_rows() -> u32 {
//# if KEYS == own
  return live.columns;
//# end
//# if KEYS == source
  return live.source;
//# end
//# if KEYS == cache
  return u.S;
//# end
}
// Columns of the scratch that are in use. CAUSAL 1: no query sees a key behind itself.
fn block_keys() -> u32 {
//# if CAUSAL
  return live.start + u.first_query + block_rows() - u.first_key;
//# else
  return key_rows() - u.first_key;
//# end
}
// The columns of the scratch that query `row` sees.
fn seen_from(sample: u32, row: u32) -> u32 {
  let i = u.first_query + row;
  var first = load_spans((sample * live.columns + i) * 2u);
  if (u.window > 0u) { first = max(first, max(live.start + i + 1u, u.window) - u.window); }
  return max(first, u.first_key) - u.first_key;
}
fn seen_to(sample: u32, row: u32) -> u32 {
  return load_spans((sample * live.columns + u.first_query + row) * 2u + 1u) - u.first_key;
}
