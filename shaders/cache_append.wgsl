// Stores the keys and values of a call's tokens in the cache: cache (B, S, 2 NK HS), from position live.start on. A
// dispatch covers what lies in both windows: tokens from row0 on, and `cache_rows` rows of the cache from cache_row0 on.
//# include rows
//# uniforms width offset kv_width S cache_row0 cache_rows
//# tensor qkv : read
//# tensor cache : read_write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  let row = i / u.kv_width;
  if (row >= live_rows()) { return; }
  let token = u.row0 + row;
  let position = (token / live.columns) * u.S + live.start + token % live.columns;
  if (position < u.cache_row0 || position >= u.cache_row0 + u.cache_rows) { return; }
  let at = (position - u.cache_row0) * u.kv_width + i % u.kv_width;
  store_cache(at, load_qkv(row * u.width + u.offset + i % u.kv_width));
}
