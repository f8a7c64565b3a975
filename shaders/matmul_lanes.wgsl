// The same product and the same order of sums as matmul.wgsl, for adapters on which loads are dear and subgroups have
// at least 8 lanes: 8 lanes load A for one another, four values each, and hand them round by broadcasts from constant
// lanes. A workgroup computes R rows times 32 columns; each lane four columns.
//
// The rows of A (TA 0: of k values; TA 1: of m values) and of B and out are whole groups of four; with TA 0 so is k.
// A row's four products follow each other, so that its sum stays in a register meanwhile.
//# let LIVE = DIM == none ? 0 : 1
//# include rows
//# uniforms m n k lda ldb ldo
//# tensor a : read vec4
//# tensor b : read vec4
//# if BIAS
//# tensor bias : read vec4
//# end
//# tensor out : ${ACC ? read_write : write} vec4

//# threads 8
fn kernel(group: u32, lane: u32) {
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
  let width = u.n / 4u;
  let across = (width + 7u) / 8u;
  let row = (group / across) * ${R}u;
  let first = (group % across) * 8u + lane;
  let column = min(first, width - 1u); // lanes beyond the edge repeat the last group; they do not store it
  let lda = u.lda / 4u;
  let ldb = u.ldb / 4u;
  let ldo = u.ldo / 4u;
//# for g in 0..R/8
//#   if TA
  let t${g} = min(row / 4u + ${2 * g}u + lane / 4u, (m + 3u) / 4u - 1u);
  let a${g} = (lane % 4u) * lda + t${g};
//#   else
  let a${g} = min(row + ${8 * g}u + lane, m - 1u) * lda;
//#   end
//# end
//# for i in 0..R
//#   if BIAS
  var sum${i} = load4_bias(column);
//#   else
  var sum${i} = vec4f();
//#   end
//# end
//# if ACC
  // Old values come in a loop through the last four sums: ${R} loads in a row would take long to compile.
  let rows = min(m, 1u) * ${R}u;
  for (var r = 0u; r < rows; r += 4u) {
//#   for x in 0..4
    let old${x} = load4_out(min(row + r + ${x}u, m - 1u) * ldo + column);
//#   end
//#   for i in 0..R-4
    sum${i} = sum${i + 4};
//#   end
//#   for x in 0..4
    sum${R - 4 + x} = old${x};
//#   end
  }
//# end
  let whole = k_end & ~3u;
  for (var k = 0u; k < whole; k += 4u) {
//# for g in 0..R/8
//#   if TA
    let v${g} = load4_a(k * lda + a${g});
//#   else
    let v${g} = load4_a(a${g} + k / 4u);
//#   end
//# end
//# for q in 0..4
    let b${q} = load4_b((k + ${q}u) * ldb + column);
//# end
//# for i in 0..R
//#   for q in 0..4
//#     if TA
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${i % 4}], ${i % 8 / 4 * 4 + q}u)), b${q}, sum${i});
//#     else
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${q}], ${i % 8}u)), b${q}, sum${i});
//#     end
//#   end
//# end
  }
//# if TA
  for (var k = whole; k < k_end; k++) {
    let b = load4_b(k * ldb + column);
//#   for g in 0..R/8
    let v${g} = load4_a(k * lda + t${g});
//#   end
//#   for i in 0..R
    sum${i} = fma(vec4f(subgroupBroadcast(v${i / 8}[${i % 4}], ${i % 8 / 4 * 4}u)), b, sum${i});
//#   end
  }
//# end
  if (first >= width) { return; }
//# for i in 0..R
  if (row + ${i}u < m) { store4_out((row + ${i}u) * ldo + column, sum${i}); }
//# end
}
