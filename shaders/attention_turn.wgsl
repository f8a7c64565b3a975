// Keys or values of some heads, turned: out (kvs, HS, pitch), `keys` of them from key0 on.
//   KEYS own: the tokens themselves; source: those of the encoder.
//   ROWS 1: from rows of tokens; ROWS 0: from (B, NK, S, HS), bound from the dispatch's first row on.
//   VEC 1: a lane is four keys, whose values it reads four at a time (HS and where heads begin are multiples of 4);
//   behind the last key it repeats that one. VEC 0: a lane is a key.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# uniforms first_kv kvs key0 keys pitch S NK HS width offset
//# tensor rows : read ${FORM}
//# tensor out : write ${FORM}

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let T = live.${KEYS == source ? source : columns};
  let keys = min(u.keys, max(T, u.key0) - u.key0);
  let blocks = (keys + ${LANES * N - 1}u) / ${LANES * N}u;
  let kv = group / blocks;
  let t = ((group % blocks) * ${LANES}u + lane) * ${N}u;
  if (kv >= min(u.kvs, max(live.batch * u.NK, u.first_kv) - u.first_kv) || t >= keys) { return; }
//# if ROWS
  let head = u.first_kv + kv;
  let at = (head / u.NK * T + u.key0) * u.width + u.offset + head % u.NK * u.HS;
  let step = u.width;
//# else
  let at = kv * u.S * u.HS;
  let step = u.HS;
//# end
  let out_at = kv * u.HS * u.pitch + t;
//# if VEC
//#   for i in 0..4
  let at${i} = (at + min(t + ${i}u, keys - 1u) * step) / 4u;
//#   end
  for (var d = 0u; d < u.HS; d += 4u) {
//#   for i in 0..4
    let key${i} = load4_rows(at${i} + d / 4u);
//#   end
//#   for i in 0..4
    store4_out((out_at + (d + ${i}u) * u.pitch) / 4u, vec4f(key0[${i}], key1[${i}], key2[${i}], key3[${i}]));
//#   end
  }
//# else
  for (var d = 0u; d < u.HS; d++) { store_out(out_at + d * u.pitch, load_rows(at + t * step + d)); }
//# end
}
