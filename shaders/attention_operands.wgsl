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

// Rows of the result, and columns in groups of four, that are in use.
fn result_rows() -> u32 {
//# if TALL
  return dispatch_keys();
//# else
  return block_rows();
//# end
}
fn result_groups() -> u32 {
  return (${WIDE ? 1 : 0}u * dispatch_keys() + ${WIDE ? 0 : 1}u * u.HS + 3u) / 4u;
}
// The pair that a head of the result belongs to; a key's (TALL) belongs to several, of which this is the first.
fn first_pair(head: u32) -> u32 {
//# if TALL
  return head * u.members;
//# else
  return head;
//# end
}

// The k that a tile of the result sums over, from `first` to `end`.
struct Range { is_computed: bool, first: u32, end: u32 }

// Of the tile of `height` rows and `width` columns that begins at (row, column).
fn range_of(sample: u32, row: u32, height: u32, column: u32, width: u32) -> Range {
//# if TALL
  // Keys that no query of the block sees have nothing to add; their first writer leaves 0.
  let is_seen = row + height > block_from(sample) && row < block_to(sample);
  let is_fresh = ${ACC} == 0 && row + height > u.fresh_from;
//#   if CAUSAL
  let diagonal = live.start + u.first_query;
  let first = max(row + u.key0, diagonal) - diagonal; // earlier queries do not see these keys
//#   else
  let first = 0u;
//#   end
  return Range(is_seen || is_fresh, first, select(first, block_rows(), is_seen));
//# else
  let from_key = tile_from(sample, row);
  let to_key = tile_to(sample, row, height);
//#   if WIDE
  // Scores of keys that none of these queries sees are not computed.
  return Range(column < to_key && column + width > from_key, 0u, u.HS);
//#   else
  return Range(true, from_key, to_key);
//#   end
//# end
}
