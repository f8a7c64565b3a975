// The same products as attention_product.wgsl, with the left operand spread over 8 lanes as in matmul_lanes.wgsl. A
// workgroup computes R rows times 32 columns. Head sizes are multiples of 4.
//# include attention_operands

//# threads 8
fn kernel(group: u32, lane: u32) {
  let rows = block_rows();
  let keys = block_keys();
//# if TALL
  let m = keys;
  let heads = u.kv_heads;
//# else
  let m = rows;
  let heads = u.kv_heads * group_size();
//# end
//# if WIDE
  let columns = (keys + 3u) / 4u; // in groups of four
//# else
  let columns = u.HS / 4u;
//# end
  let across = (columns + 7u) / 8u;
  let down = (m + ${R - 1}u) / ${R}u;
  let pair = group / (across * down);
  let sample = pair / heads;
  let row = ((group / across) % down) * ${R}u;
  let first = (group % across) * 8u + lane;
  let column = min(first, columns - 1u); // lanes beyond the edge repeat the last group; they do not store it
  if (sample >= live_samples()) { return; }
//# if TALL
  let kv_local = pair % heads;
  // Keys that no query of the block sees have nothing to add; their first writer leaves 0.
  let is_seen = row + ${R}u > block_from(sample) && row < block_to(sample);
  let is_fresh = row + ${R}u > u.fresh_from;
  if (!is_seen && (${ACC} == 1 || !is_fresh)) { return; }
//#   if CAUSAL
  let diagonal = live.start + first_query();
  let first_k = max(row + u.first_key, diagonal) - diagonal; // earlier queries do not see these keys
//#   else
  let first_k = 0u;
//#   end
  let end_k = select(first_k, rows, is_seen);
//# else
  let kv_local = (pair % heads) / group_size();
  let head = u.kv_head0 * group_size() + pair % heads;
  let from_key = tile_from(sample, row);
  let to_key = tile_to(sample, row, ${R}u);
//#   if WIDE
  // Scores of keys that none of these queries sees are not computed.
  let tile = (group % across) * 32u;
  if (tile >= to_key || tile + 32u <= from_key) { return; }
  let first_k = 0u;
  let end_k = u.HS;
//#   else
  let first_k = from_key;
  let end_k = to_key;
//#   end
//# end
  let kv_head = u.kv_head0 + kv_local;

//# for i in 0..R
  var sum${i} = vec4f();
//# end
//# if GOES_ON
  // Old values come in a loop through the last four sums: ${R} loads in a row would take long to compile.
  let old_rows = min(m, 1u) * ${R}u;
  for (var r = 0u; r < old_rows; r += 4u) {
//#   for x in 0..4
    var old${x} = vec4f();
    {
      let old_row = min(row + r + ${x}u, m - 1u);
//#     if TALL && !ACC
      if (old_row < u.fresh_from) { old${x} = load4_out(out_at(sample, kv_head, 0u, old_row) / 4u + column); }
//#     end
//#     if TALL && ACC
      old${x} = load4_out(out_at(sample, kv_head, 0u, old_row) / 4u + column);
//#     end
//#     if !TALL
      old${x} = load4_out(out_at(sample, kv_head, head, old_row) / 4u + column);
//#     end
    }
//#   end
//#   for i in 0..R-4
    sum${i} = sum${i + 4};
//#   end
//#   for x in 0..4
    sum${R - 4 + x} = old${x};
//#   end
  }
//# end

//# if TALL
  for (var member = 0u; member < group_size(); member++) {
  let head = kv_head * group_size() + member;
  let scratch_at = (sample * heads * group_size() + kv_local * group_size() + member) * ROWS * u.pitch;
//#   for g in 0..R/8
  let t${g} = min(row + ${8 * g}u + lane / 4u * 4u, (m - 1u) & ~3u);
//#   end
//# else
//#   for g in 0..R/8
  let row${g} = min(row + ${8 * g}u + lane, m - 1u);
//#     if WIDE
  let a${g} = left_at(sample, head, row${g}) / 4u;
//#     end
//#     if !WIDE
  let a${g} = (pair * ROWS + row${g}) * (u.pitch / 4u);
//#     end
//#   end
//# end
  let last_k = max(end_k, 1u) - 1u;
//# if TALL
  let whole = first_k + ((max(end_k, first_k) - first_k) & ~3u);
//# else
  // What the scratch holds behind the last key is 0.
  let whole = (end_k + 3u) & ~3u;
//# end
  for (var k = first_k; k < whole; k += 4u) {
//# for g in 0..R/8
//#   if TALL
    let v${g} = load4_scratch((scratch_at + (k + lane % 4u) * u.pitch + t${g}) / 4u);
//#   end
//#   if WIDE
    let v${g} = load4_left(a${g} + k / 4u);
//#   end
//#   if !TALL && !WIDE
    let v${g} = load4_scratch(a${g} + k / 4u);
//#   end
//# end
//# for q in 0..4
    let b${q} = load4_right(right_at(sample, kv_head, ${TALL ? head : kv_head}, min(k + ${q}u, last_k)) / 4u + column);
//# end
//# for i in 0..R
//#   for q in 0..4
//#     if TALL
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${i % 4}], ${i % 8 / 4 * 4 + q}u)), b${q}, sum${i});
//#     else
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${q}], ${i % 8}u)), b${q}, sum${i});
//#     end
//#   end
//# end
  }
//# if TALL
  for (var k = whole; k < end_k; k++) {
    let b = load4_right(right_at(sample, kv_head, head, k) / 4u + column);
//#   for g in 0..R/8
    let v${g} = load4_scratch((scratch_at + k * u.pitch + t${g}) / 4u);
//#   end
//#   for i in 0..R
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${i % 4}], ${i % 8 / 4 * 4}u)), b, sum${i});
//#   end
  }
  }
//# end

  if (first >= columns) { return; }
//# for i in 0..R
  if (row + ${i}u < m) {
//#   if WIDE
    store4_out((pair * ROWS + row + ${i}u) * (u.pitch / 4u) + column, sum${i});
//#   end
//#   if TALL
    store4_out(out_at(sample, kv_head, 0u, row + ${i}u) / 4u + column, sum${i});
//#   end
//#   if !TALL && !WIDE
    store4_out(out_at(sample, kv_head, u.kv_head0 * group_size() + pair % heads, row + ${i}u) / 4u + column, sum${i});
//#   end
  }
//# end
}
