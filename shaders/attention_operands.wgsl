// The operands of attention's matrix products, for some queries (a block of 64, or a part of one) and some keys:
//
//   PRODUCT scores:  S (queries, keys) = Q K^T          PRODUCT dscores: dP (queries, keys) = dO V^T
//   PRODUCT values:  O (queries, HS) = P V              PRODUCT dquery:  dQ (queries, HS) = dS K
//   PRODUCT dvalue:  dV (keys, HS) += P^T dO            PRODUCT dkey:    dK (keys, HS) += dS^T Q
// The last two sum over the query heads of a key head, then over the queries; later dispatches go on.
// A dispatch covers `keys` keys from `key0` on. Where all do not fit a binding, later dispatches cover the others.
//
//   TURNED 1: keys or values come as (kvs, HS, right_width), from column right_offset on.
//   ACC 1: add to what the result holds. FIRST 1: nothing was written to it before.
//   LV, VB, VO 1: the left operand, the right one, the result are read and written four values at a time.
//# include attention
//# let WIDE = PRODUCT == scores || PRODUCT == dscores ? 1 : 0
//# let TALL = PRODUCT == dkey || PRODUCT == dvalue ? 1 : 0
//# uniforms key0 keys left_width left_offset right_width right_offset out_width out_offset fresh_from
//# let LEFT_FORM = LV ? vec4 : f32
//# let OUT_FORM = VO ? vec4 : f32
//# if WIDE
//# tensor left : read ${LEFT_FORM}
//# else
//# tensor scratch : read ${LEFT_FORM}
//# end
//# if VB
//# tensor right : read vec4
//# else
//# tensor right : read
//# end
//# let GOES_ON = ACC || (TALL && !FIRST) ? 1 : 0
//# tensor out : ${GOES_ON ? read_write : write} ${OUT_FORM}

// The column of the scratch that the first key has.
fn first_column() -> u32 { return u.key0 - u.first_key; }
// Keys in use. In what follows they are counted from the first one on.
fn dispatch_keys() -> u32 { return min(u.keys, max(block_keys(), first_column()) - first_column()); }
fn from_key0(column: u32) -> u32 { return min(max(column, first_column()) - first_column(), dispatch_keys()); }

// The keys that one of `count` queries from `row` on sees.
fn tile_from(sample: u32, row: u32) -> u32 { return from_key0(seen_from(sample, row) & ~3u); }
fn tile_to(sample: u32, row: u32, count: u32) -> u32 {
  return from_key0(seen_to(sample, min(row + count, block_rows()) - 1u));
}
// The keys whose columns the softmax has written: whole tiles of them.
fn block_from(sample: u32) -> u32 { return from_key0(seen_from(sample, 0u) & ~63u); }
fn block_to(sample: u32) -> u32 { return from_key0((seen_to(sample, block_rows() - 1u) + 63u) & ~63u); }

// Where the pair's queries begin in the scratch, at the first key.
fn scratch_at(pair: u32) -> u32 { return pair * u.rows * u.pitch + first_column(); }

// Where row 0 of the right operand begins: a query (TALL), a dimension (TURNED), or a key.
fn right_at(kv: u32, pair: u32) -> u32 {
//# if WIDE && TURNED
  return kv * u.HS * u.right_width + u.right_offset;
//# end
//# if TALL
  return queries_at(pair, u.right_width, u.right_offset);
//# end
//# if !TALL && !(WIDE && TURNED)
  return keys_at(kv, u.key0, u.right_width, u.right_offset);
//# end
}

// Where row 0 of the result begins.
fn out_at(kv: u32, pair: u32) -> u32 {
//# if WIDE
  return scratch_at(pair);
//# end
//# if TALL
  return keys_at(kv, u.key0, u.out_width, u.out_offset);
//# end
//# if !WIDE && !TALL
  return queries_at(pair, u.out_width, u.out_offset);
//# end
}
// Elements between rows of the result.
fn out_step() -> u32 { return ${WIDE ? 1 : 0}u * u.pitch + ${WIDE ? 0 : 1}u * u.out_width; }
