// Stores the keys and values of a call's tokens in the cache: cache (B, S, 2 NK HS), from position live.start on.
//# uniforms width offset kv_width cache_rows
//# tensor qkv : read
//# tensor cache : read_write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  let token = i / u.kv_width;
  if (token >= live.rows) { return; }
  let position = (token / live.columns) * u.cache_rows + live.start + token % live.columns;
  store_cache(position * u.kv_width + i % u.kv_width, load_qkv(token * u.width + u.offset + i % u.kv_width));
}
