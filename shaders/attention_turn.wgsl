// Keys or values of some heads, turned: out (kvs, HS, pitch), `keys` of them from key0 on. A lane is a key.
//   KEYS own: the tokens themselves; source: those of the encoder.
//   ROWS 1: from rows of tokens; ROWS 0: from (B, NK, S, HS), bound from the dispatch's first row on.
//# uniforms first_kv kvs key0 keys pitch S NK HS width offset
//# tensor rows : read
//# tensor out : write

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let T = live.${KEYS == source ? source : columns};
  let keys = min(u.keys, max(T, u.key0) - u.key0);
  let blocks = (keys + ${LANES - 1}u) / ${LANES}u;
  let kv = group / blocks;
  let t = (group % blocks) * ${LANES}u + lane;
  if (kv >= min(u.kvs, max(live.batch * u.NK, u.first_kv) - u.first_kv) || t >= keys) { return; }
//# if ROWS
  let head = u.first_kv + kv;
  let at = (head / u.NK * T + u.key0 + t) * u.width + u.offset + head % u.NK * u.HS;
//# else
  let at = kv * u.S * u.HS + t * u.HS;
//# end
  let out_at = kv * u.HS * u.pitch + t;
  for (var d = 0u; d < u.HS; d++) { store_out(out_at + d * u.pitch, load_rows(at + d)); }
}
