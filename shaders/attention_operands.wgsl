// The operands of attention's matrix products, one block of queries at a time:
//
//   PRODUCT scores:  S (queries, keys) = Q K^T          PRODUCT dscores: dP (queries, keys) = dO V^T
//   PRODUCT values:  O (queries, HS) = P V              PRODUCT dquery:  dQ (queries, HS) = dS K
//   PRODUCT dvalue:  dV (keys, HS) += P^T dO            PRODUCT dkey:    dK (keys, HS) += dS^T Q
// The last two sum over the query heads of a key head, then over the block's queries; later blocks go on.
//
//   TURNED 1: keys or values come as (B, NK, HS, pitch); otherwise as they lie in qkv or, CACHE 1, in the cache.
//   LV, VB, VO 1: the left operand, the right one, the result are read and written four values at a time.
//# include attention
//# let WIDE = PRODUCT == scores || PRODUCT == dscores ? 1 : 0
//# let TALL = PRODUCT == dkey || PRODUCT == dvalue ? 1 : 0
//# uniforms cache_rows
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
//# tensor out : ${!WIDE && (TALL || ACC) ? read_write : write} ${OUT_FORM}

// First element of row `row` of sample `sample` in qkv, or in the attention's output.
fn qkv_row(sample: u32, row: u32) -> u32 { return (sample * live.columns + row) * u.width; }
fn out_row(sample: u32, row: u32, head: u32) -> u32 { return ((sample * live.columns + row) * u.NH + head) * u.HS; }

//# if !WIDE
// First element of row `row` of the result, where it is no scratch.
fn out_at(sample: u32, kv_head: u32, head: u32, row: u32) -> u32 {
//#   if TALL
  return qkv_row(sample, row) + (u.NH + ${PRODUCT == dvalue ? 1 : 0}u * u.NK + kv_head) * u.HS;
//#   end
//#   if PRODUCT == values
  return out_row(sample, first_query() + row, head);
//#   end
//#   if PRODUCT == dquery
  return qkv_row(sample, first_query() + row) + head * u.HS;
//#   end
}
//# end

// Where row k of the right operand begins.
fn right_at(sample: u32, kv_head: u32, head: u32, k: u32) -> u32 {
//# if WIDE && TURNED
  return ((sample * u.NK + kv_head) * u.HS + k) * u.pitch;
//# end
//# if TALL
//#   if PRODUCT == dkey
  return qkv_row(sample, first_query() + k) + head * u.HS;
//#   else
  return out_row(sample, first_query() + k, head);
//#   end
//# end
//# if !TALL && !(WIDE && TURNED)
//#   let PART = PRODUCT == values || PRODUCT == dscores ? 1 : 0
//#   if CACHE
  return ((sample * u.cache_rows + k) * 2u + ${PART}u) * u.NK * u.HS + kv_head * u.HS;
//#   else
  return qkv_row(sample, k) + (u.NH + ${PART}u * u.NK + kv_head) * u.HS;
//#   end
//# end
}
