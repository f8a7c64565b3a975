// The same product and the same order of sums as matmul.wgsl, through workgroup memory: a workgroup loads tiles of A
// and B together, DEPTH values of k at a time; LANES x BANDS threads each compute TM rows times TN columns of theirs.
// Any shape, any of the three layouts.
//# let LIVE = DIM == none ? 0 : 1
//# let ROWS = TM * BANDS
//# let COLUMNS = TN * LANES
//# let THREADS = LANES * BANDS
//# include rows
//# uniforms m n k lda ldb ldo
//# tensor a : read
//# tensor b : read
//# if BIAS
//# tensor bias : read
//# end
//# tensor out : ${ACC ? read_write : write}

var<workgroup> tile_a: array<f32, ${DEPTH * ROWS}>; // (DEPTH, ROWS)
var<workgroup> tile_b: array<f32, ${DEPTH * COLUMNS}>; // (DEPTH, COLUMNS)

//# threads ${THREADS}
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
  let across = (u.n + ${COLUMNS - 1}u) / ${COLUMNS}u;
  let tile_row = (group / across) * ${ROWS}u;
  let tile_column = (group % across) * ${COLUMNS}u;
  if (tile_row >= m) { return; } // the whole workgroup
  let down = (thread / ${LANES}u) * ${TM}u;
  let right = thread % ${LANES}u;
//# for i in 0..TM
  let row${i} = min(tile_row + down + ${i}u, m - 1u);
//# end
//# for j in 0..TN
  let column${j} = min(tile_column + right + ${j * LANES}u, u.n - 1u);
//# end
//# for i in 0..TM
//#   for j in 0..TN
//#     if ACC
  var sum${i}_${j} = load_out(row${i} * u.ldo + column${j});
//#     end
//#     if !ACC && BIAS
  var sum${i}_${j} = load_bias(column${j});
//#     end
//#     if !ACC && !BIAS
  var sum${i}_${j} = 0.0;
//#     end
//#   end
//# end
  for (var k0 = 0u; k0 < k_end; k0 += ${DEPTH}u) {
    workgroupBarrier();
    for (var i = thread; i < ${DEPTH * ROWS}u; i += ${THREADS}u) {
//# if TA
      let k = i / ${ROWS}u;
      let r = i % ${ROWS}u;
      tile_a[i] = load_a(min(k0 + k, k_end - 1u) * u.lda + min(tile_row + r, m - 1u));
//# else
      let k = i % ${DEPTH}u;
      let r = i / ${DEPTH}u;
      tile_a[k * ${ROWS}u + r] = load_a(min(tile_row + r, m - 1u) * u.lda + min(k0 + k, k_end - 1u));
//# end
    }
    for (var i = thread; i < ${DEPTH * COLUMNS}u; i += ${THREADS}u) {
//# if TB
      let k = i % ${DEPTH}u;
      let c = i / ${DEPTH}u;
      tile_b[k * ${COLUMNS}u + c] = load_b(min(tile_column + c, u.n - 1u) * u.ldb + min(k0 + k, k_end - 1u));
//# else
      let k = i / ${COLUMNS}u;
      let c = i % ${COLUMNS}u;
      tile_b[i] = load_b(min(k0 + k, k_end - 1u) * u.ldb + min(tile_column + c, u.n - 1u));
//# end
    }
    workgroupBarrier();
    let depth = min(${DEPTH}u, k_end - k0);
    for (var k = 0u; k < depth; k++) {
//# for j in 0..TN
      let b${j} = tile_b[k * ${COLUMNS}u + right + ${j * LANES}u];
//# end
//# for i in 0..TM
      {
        let a = tile_a[k * ${ROWS}u + down + ${i}u];
//#   for j in 0..TN
        sum${i}_${j} = fma(a, b${j}, sum${i}_${j});
//#   end
      }
//# end
    }
  }
//# for i in 0..TM
  if (tile_row + down + ${i}u < m) {
//#   for j in 0..TN
    if (tile_column + right + ${j * LANES}u < u.n) { store_out(row${i} * u.ldo + column${j}, sum${i}_${j}); }
//#   end
  }
//# end
}
