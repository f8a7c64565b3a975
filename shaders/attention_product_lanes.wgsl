// The same products as attention_product.wgsl, with the left operand spread over 8 lanes as in matmul_lanes.wgsl. A
// workgroup computes R rows times 32 columns. Head sizes are multiples of 4.
//# include attention_operands

//# threads 8
fn kernel(group: u32, lane: u32) {
  let m = result_rows();
  let columns = result_groups();
  let across = (columns + 7u) / 8u;
  let down = (m + ${R - 1}u) / ${R}u;
  let row = ((group / across) % down) * ${R}u;
  let tile = (group % across) * 8u;
  let first = tile + lane;
  let column = min(first, columns - 1u); // lanes beyond the edge repeat the last group; they do not store it
  let pair = first_pair(group / (across * down));
  let kv = pair / u.members;
  if (kv >= live_kvs()) { return; }
  let range = range_of(sample_of(kv), row, ${R}u, tile * 4u, 32u);
  if (!range.is_computed) { return; }
  let first_k = range.first;
  let end_k = range.end;

  let out = out_at(kv, pair);
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
//#     let FRESH = TALL && !ACC ? 1 : 0
//#     if FRESH
      if (old_row < u.fresh_from) { old${x} = load4_out((out + old_row * out_step()) / 4u + column); }
//#     else
      old${x} = load4_out((out + old_row * out_step()) / 4u + column);
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
  for (var member = 0u; member < u.members; member++) {
  let a = scratch_at(pair + member);
  let right = right_at(kv, pair + member);
//#   for g in 0..R/8
  let t${g} = min(row + ${8 * g}u + lane / 4u * 4u, (m - 1u) & ~3u);
//#   end
//# else
  let right = right_at(kv, pair);
//#   for g in 0..R/8
  let row${g} = min(row + ${8 * g}u + lane, m - 1u);
//#     if WIDE
  let a${g} = (queries_at(pair, u.left_width, u.left_offset) + row${g} * u.left_width) / 4u;
//#     end
//#     if !WIDE
  let a${g} = (scratch_at(pair) + row${g} * u.pitch) / 4u;
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
    let v${g} = load4_scratch((a + (k + lane % 4u) * u.pitch + t${g}) / 4u);
//#   end
//#   if WIDE
    let v${g} = load4_left(a${g} + k / 4u);
//#   end
//#   if !TALL && !WIDE
    let v${g} = load4_scratch(a${g} + k / 4u);
//#   end
//# end
//# for q in 0..4
    let b${q} = load4_right((right + min(k + ${q}u, last_k) * u.right_width) / 4u + column);
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
    let b = load4_right((right + k * u.right_width) / 4u + column);
//#   for g in 0..R/8
    let v${g} = load4_scratch((a + k * u.pitch + t${g}) / 4u);
//#   end
//#   for i in 0..R
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${i % 4}], ${i % 8 / 4 * 4}u)), b, sum${i});
//#   end
  }
  }
//# end

  if (first >= columns) { return; }
//# for i in 0..R
  if (row + ${i}u < m) { store4_out((out + (row + ${i}u) * out_step()) / 4u + column, sum${i}); }
//# end
}
