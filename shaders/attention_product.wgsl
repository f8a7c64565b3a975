// The matrix products of attention, for all heads of a dispatch at once; the same tiles and the same order of sums
// (one chain, ascending) as matmul.wgsl. Tiles that are masked out are not computed.
//# include attention_operands

//# if VB
fn right_group(at: u32, column: u32) -> vec4f { return load4_right((at + column) / 4u); }
//# else
fn right_group(at: u32, column: u32) -> vec4f {
  let last = ${WIDE ? 1 : 0}u * (dispatch_keys() - 1u) + ${WIDE ? 0 : 1}u * (u.HS - 1u);
  let i = at + vec4u(column, min(column + 1u, last), min(column + 2u, last), min(column + 3u, last));
  return vec4f(load_right(i.x), load_right(i.y), load_right(i.z), load_right(i.w));
}
//# end

//# threads ${LANES * BANDS}
fn kernel(group: u32, thread: u32) {
  let m = result_rows();
  let columns = result_groups();
  let across = (columns + ${LANES * TN - 1}u) / ${LANES * TN}u;
  let down = (m + ${TM * BANDS - 1}u) / ${TM * BANDS}u;
  let row = ((group / across) % down) * ${TM * BANDS}u + (thread / ${LANES}u) * ${TM}u;
  let tile = (group % across) * ${LANES * TN}u;
  let first = tile + thread % ${LANES}u;
  let pair = first_pair(group / (across * down));
  let kv = pair / u.members;
  if (kv >= live_kvs() || row >= m) { return; }
  let range = range_of(sample_of(kv), row, ${TM}u, tile * 4u, ${LANES * TN * 4}u);
  if (!range.is_computed) { return; }

//# for i in 0..TM
  let row${i} = min(row + ${i}u, m - 1u);
//#   if WIDE
  let a${i} = queries_at(pair, u.left_width, u.left_offset) + row${i} * u.left_width;
//#   end
//#   if !WIDE && !TALL
  let a${i} = scratch_at(pair) + row${i} * u.pitch;
//#   end
//# end
//# for j in 0..TN
  let col${j} = min(first + ${j * LANES}u, columns - 1u) * 4u;
//# end
//# for i in 0..TM
  let out${i} = out_at(kv, pair) + row${i} * out_step();
//#   for j in 0..TN
  var sum${i}_${j} = vec4f();
//#     if GOES_ON
//#       let FRESH = TALL && !ACC ? 1 : 0
//#       if FRESH
  if (row${i} < u.fresh_from) {
//#       else
  {
//#       end
    sum${i}_${j}.x = load_out(out${i} + col${j});
    if (col${j} + 1u < u.HS) { sum${i}_${j}.y = load_out(out${i} + col${j} + 1u); }
    if (col${j} + 2u < u.HS) { sum${i}_${j}.z = load_out(out${i} + col${j} + 2u); }
    if (col${j} + 3u < u.HS) { sum${i}_${j}.w = load_out(out${i} + col${j} + 3u); }
  }
//#     end
//#   end
//# end

//# if WIDE && !TURNED
  let last_key = dispatch_keys() - 1u;
//# end
//# if TALL
  for (var member = 0u; member < u.members; member++) {
  let a = scratch_at(pair + member);
  let b = right_at(kv, pair + member);
//# else
  let b = right_at(kv, pair);
//# end
  for (var k = range.first; k < range.end; k++) {
    let at = b + k * u.right_width;
//# for j in 0..TN
//#   if WIDE && !TURNED
    let b${j} = vec4f(
      load_right(b + col${j} * u.right_width + k),
      load_right(b + min(col${j} + 1u, last_key) * u.right_width + k),
      load_right(b + min(col${j} + 2u, last_key) * u.right_width + k),
      load_right(b + min(col${j} + 3u, last_key) * u.right_width + k),
    );
//#   else
    let b${j} = right_group(at, col${j});
//#   end
//# end
//# for i in 0..TM
//#   if WIDE
    let x${i} = vec4f(load_left(a${i} + k));
//#   end
//#   if TALL
    let x${i} = vec4f(load_scratch(a + k * u.pitch + row${i}));
//#   end
//#   if !WIDE && !TALL
    let x${i} = vec4f(load_scratch(a${i} + k));
//#   end
//#   for j in 0..TN
    sum${i}_${j} = fma(x${i}, b${j}, sum${i}_${j});
//#   end
//# end
  }
//# if TALL
  }
//# end

//# for i in 0..TM
//#   for j in 0..TN
  if (row + ${i}u < m && first + ${j * LANES}u < columns) {
//#     if WIDE
    store4_out((out${i} + col${j}) / 4u, sum${i}_${j});
//#     else
    store_out(out${i} + col${j}, sum${i}_${j}.x);
    if (col${j} + 1u < u.HS) { store_out(out${i} + col${j} + 1u, sum${i}_${j}.y); }
    if (col${j} + 2u < u.HS) { store_out(out${i} + col${j} + 2u, sum${i}_${j}.z); }
    if (col${j} + 3u < u.HS) { store_out(out${i} + col${j} + 3u, sum${i}_${j}.w); }
//#     end
  }
//#   end
//# end
}
