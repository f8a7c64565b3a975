// out (m, n) = A B, with A (m, k) or, TA 1, stored as (k, m); B (k, n) or, TB 1, stored as (n, k). Registers only: a thread computes TM rows
// times TN groups of four columns. LANES threads lie along the columns and share their rows of A; a workgroup has
// BANDS of them, one below the other.
//
// Order of every sum: it starts from the old value (ACC 1), the bias (BIAS 1) or 0, and k ascends in one chain.
//
//   VB 1: rows of B are whole groups of four values (ldb and n are multiples of 4, or B is padded to it).
//   VO 1: rows of out are.
//   DIM m, k or none: which dimension counts tokens, of which a step may use fewer than were recorded.
//# let LIVE = DIM == none ? 0 : 1
//# include rows
//# uniforms m n k lda ldb ldo
//# tensor a : read
//# if VB
//# tensor b : read vec4
//# else
//# tensor b : read
//# end
//# if BIAS
//# tensor bias : read
//# end
//# if VO
//# tensor out : ${ACC ? read_write : write} vec4
//# else
//# tensor out : ${ACC ? read_write : write}
//# end

//# if !VB
// Columns `column` to `column + 3` of row `row` of B; what lies behind the last column is never stored.
fn b_group(row: u32, column: u32) -> vec4f {
  let last = u.n - 1u;
//#   if TB
  let i = vec4u(column, min(column + 1u, last), min(column + 2u, last), min(column + 3u, last)) * u.ldb + row;
//#   else
  let i = vec4u(column, min(column + 1u, last), min(column + 2u, last), min(column + 3u, last)) + row * u.ldb;
//#   end
  return vec4f(load_b(i.x), load_b(i.y), load_b(i.z), load_b(i.w));
}
//# end

//# if !VO
fn old_group(i: u32, column: u32) -> vec4f {
  let last = u.n - 1u - column;
  return vec4f(load_out(i), load_out(i + min(1u, last)), load_out(i + min(2u, last)), load_out(i + min(3u, last)));
}
fn store_group(i: u32, column: u32, value: vec4f) {
  store_out(i, value.x);
  if (column + 1u < u.n) { store_out(i + 1u, value.y); }
  if (column + 2u < u.n) { store_out(i + 2u, value.z); }
  if (column + 3u < u.n) { store_out(i + 3u, value.w); }
}
//# end

//# threads ${LANES * BANDS}
fn kernel(group: u32, thread: u32) {
//# if DIM == m
  let m = live_rows();
//# else
  let m = u.m;
//# end
//# if DIM == k
  let k_end = live_rows();
//# else
  let k_end = u.k;
//# end
  let width = (u.n + 3u) / 4u; // columns in groups of four
  let across = (width + ${LANES * TN - 1}u) / ${LANES * TN}u;
  let row = (group / across) * ${TM * BANDS}u + (thread / ${LANES}u) * ${TM}u;
  if (row >= m) { return; }
  // Rows and columns beyond the edge repeat the last one; they are not stored.
//# for i in 0..TM
  let row${i} = min(row + ${i}u, m - 1u);
//#   if TA
  let a${i} = row${i};
//#   else
  let a${i} = row${i} * u.lda;
//#   end
//# end
  let first = (group % across) * ${LANES * TN}u + thread % ${LANES}u;
//# for j in 0..TN
  let col${j} = min(first + ${j * LANES}u, width - 1u);
//# end
//# if BIAS
  let bias_last = u.n - 1u;
//# end
//# for j in 0..TN
//#   if BIAS
  let start${j} = vec4f(
    load_bias(col${j} * 4u),
    load_bias(min(col${j} * 4u + 1u, bias_last)),
    load_bias(min(col${j} * 4u + 2u, bias_last)),
    load_bias(min(col${j} * 4u + 3u, bias_last)),
  );
//#   else
  let start${j} = vec4f();
//#   end
//#   for i in 0..TM
//#     if ACC && VO
  var sum${i}_${j} = load4_out(row${i} * (u.ldo / 4u) + col${j});
//#     end
//#     if ACC && !VO
  var sum${i}_${j} = old_group(row${i} * u.ldo + col${j} * 4u, col${j} * 4u);
//#     end
//#     if !ACC
  var sum${i}_${j} = start${j};
//#     end
//#   end
//# end
//# if VB
  let stride = u.ldb / 4u;
//# end
  for (var k = 0u; k < k_end; k++) {
//# for j in 0..TN
//#   if VB
    let b${j} = load4_b(k * stride + col${j});
//#   else
    let b${j} = b_group(k, col${j} * 4u);
//#   end
//# end
//# for i in 0..TM
//#   if TA
    let x${i} = vec4f(load_a(k * u.lda + a${i}));
//#   else
    let x${i} = vec4f(load_a(a${i} + k));
//#   end
//#   for j in 0..TN
    sum${i}_${j} = fma(x${i}, b${j}, sum${i}_${j});
//#   end
//# end
  }
//# for i in 0..TM
//#   for j in 0..TN
  if (row + ${i}u < m && first + ${j * LANES}u < width) {
//#     if VO
    store4_out(row${i} * (u.ldo / 4u) + col${j}, sum${i}_${j});
//#     else
    store_group(row${i} * u.ldo + col${j} * 4u, col${j} * 4u, sum${i}_${j});
//#     end
  }
//#   end
//# end
}
