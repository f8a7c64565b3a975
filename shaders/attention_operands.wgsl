// The operands of attention's matrix products, one block of queries at a time:
//
//   PRODUCT scores:  S (queries, keys) = Q K^T          PRODUCT dscores: dP (queries, keys) = dO V^T
//   PRODUCT values:  O (queries, HS) = P V              PRODUCT dquery:  dQ (queries, HS) = dS K
//   PRODUCT dvalue:  dV (keys, HS) += P^T dO            PRODUCT dkey:    dK (keys, HS) += dS^T Q
// The last two sum over the query heads of a key head, then over the block's queries; later blocks go on.
//
//   TURNED 1: keys or values come as (B, NK, HS, right_pitch); otherwise as rows.
//   FIRST 1: nothing was written to the result before.
//   LV, VB, VO 1: the left operand, the right one, the result are read and written four values at a time.
//# include attention
//# let WIDE = PRODUCT == scores || PRODUCT == dscores ? 1 : 0
//# let TALL = PRODUCT == dkey || PRODUCT == dvalue ? 1 : 0
//# uniforms left_width left_offset right_width right_offset right_pitch out_width out_offset fresh_from
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

//# if WIDE
fn left_at(sample: u32, head: u32, row: u32) -> u32 {
  return (sample * live.columns + first_query() + row) * u.left_width + u.left_offset + head * u.HS;
}
//# end

//# if !WIDE
// First element of row `row` of the result, where it is no scratch.
fn out_at(sample: u32, kv_head: u32, head: u32, row: u32) -> u32 {
//#   if TALL
  return (sample * key_rows() + u.first_key + row) * u.out_width + u.out_offset + kv_head * u.HS;
//#   else
  return (sample * live.columns + first_query() + row) * u.out_width + u.out_offset + head * u.HS;
//#   end
}
//# end

// Where row k of the right operand begins: query k of the block (TALL), dimension k (TURNED), or key k of the scratch.
fn right_at(sample: u32, kv_head: u32, head: u32, k: u32) -> u32 {
//# if WIDE && TURNED
  return ((sample * u.NK + kv_head) * u.HS + k) * u.right_pitch + u.first_key;
//# end
//# if TALL
  return (sample * live.columns + first_query() + k) * u.right_width + u.right_offset + head * u.HS;
//# end
//# if !TALL && !(WIDE && TURNED)
  return (sample * key_rows() + u.first_key + k) * u.right_width + u.right_offset + kv_head * u.HS;
//# end
}

// The columns of the scratch that one of `count` rows from `row` on sees.
fn tile_from(sample: u32, row: u32) -> u32 { return seen_from(sample, row) & ~3u; }
fn tile_to(sample: u32, row: u32, count: u32) -> u32 { return seen_to(sample, min(row + count, block_rows()) - 1u); }
// The columns that the block's softmax has written: whole tiles of them.
fn block_from(sample: u32) -> u32 { return seen_from(sample, 0u) & ~63u; }
fn block_to(sample: u32) -> u32 { return min((seen_to(sample, block_rows() - 1u) + 63u) & ~63u, block_keys()); }
