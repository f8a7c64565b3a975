// LayerNorm (KIND layernorm) and RMSNorm (KIND rmsnorm) over rows of `width` values.
//   BACKWARD 0: y and stats = (mean, 1 / deviation) of each row; the mean of an RMSNorm is 0.
//   BACKWARD 1: dx from dy, x and stats.
//
// Order of a row's sums: 32 chains, column c in chain c % 32, added as a tree (chain l and l + 16, then 8, 4, 2, 1).
// LANES 32: a chain a lane. LANES 1: a thread computes all chains of its row.
//   VEC 1: `width` is a multiple of 4 and values are read and written four at a time; LANES 1 only.
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# include rows
//# uniforms width
//# tensor x : read ${FORM}
//# tensor weight : read ${FORM}
//# if BACKWARD
//# tensor dy : read ${FORM}
//# tensor stats : read
//# tensor dx : ${ACC ? read_write : write} ${FORM}
//# else
//# uniforms eps:f32
//#   if BIAS
//# tensor bias : read ${FORM}
//#   end
//# tensor y : write ${FORM}
//# tensor stats : write
//# end

// Column c of a row, or with VEC columns 4 c to 4 c + 3.
fn at(row: u32, c: u32) -> u32 { return row * (u.width / ${VEC ? 4 : 1}u) + c; }
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store

//# if BACKWARD
// The sums over a row: of dxhat, and of dxhat * xhat, where dxhat = dy * weight.
fn term0(row: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  return ${LOAD}_dy(at(row, c)) * ${LOAD}_weight(c);
}
fn term1(row: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  return ${LOAD}_dy(at(row, c)) * ${LOAD}_weight(c) * ((${LOAD}_x(at(row, c)) - mean) * scale);
}
//# else
// The sums over a row: of x, and of (x - mean)^2.
fn term0(row: u32, c: u32, mean: f32, scale: f32) -> ${T} { return ${LOAD}_x(at(row, c)); }
fn term1(row: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  let centred = ${LOAD}_x(at(row, c)) - mean;
  return centred * centred;
}
//# end

//# if LANES == 32
var<workgroup> chains: array<f32, ${32 * ROWS}>;
//# end

//# for s in 0..2
fn sum${s}(row: u32, lane: u32, slot: u32, mean: f32, scale: f32) -> f32 {
//#   if LANES == 32
  var sum = 0.0;
  for (var c = lane; c < u.width; c += 32u) { sum += term${s}(row, c, mean, scale); }
  workgroupBarrier();
  chains[slot] = sum;
//#     for step in 0..5
//#       let HALF = step == 0 ? 16 : step == 1 ? 8 : step == 2 ? 4 : step == 3 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[slot] += chains[slot + ${HALF}u]; }
//#     end
  workgroupBarrier();
  return chains[slot - lane];
//#   else
  var chains: array<vec4f, 8>; // four chains each
  let last = u.width - 1u;
  for (var j = 0u; j < 8u; j++) {
    var sum = vec4f();
//#     if VEC
    for (var c = j; c < u.width / 4u; c += 8u) { sum += term${s}(row, c, mean, scale); }
//#     else
    for (var c = 4u * j; c < u.width; c += 32u) {
      let value = vec4f(
        term${s}(row, c, mean, scale),
        term${s}(row, min(c + 1u, last), mean, scale),
        term${s}(row, min(c + 2u, last), mean, scale),
        term${s}(row, min(c + 3u, last), mean, scale),
      );
      sum += select(vec4f(), value, vec4u(c) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last));
    }
//#     end
    chains[j] = sum;
  }
  let by16 = array<vec4f, 4>(
    chains[0] + chains[4],
    chains[1] + chains[5],
    chains[2] + chains[6],
    chains[3] + chains[7],
  );
  let by4 = (by16[0] + by16[2]) + (by16[1] + by16[3]);
  return (by4.x + by4.z) + (by4.y + by4.w);
//#   end
}
//# end

//# threads ${LANES == 32 ? 32 * ROWS : 8}
fn kernel(group: u32, thread: u32) {
  let rows = live_rows();
//# if LANES == 32
  let lane = thread % 32u;
  let wanted = group * ${ROWS}u + thread / 32u;
//# else
  let lane = 0u;
  let wanted = group * 8u + thread;
//# end
  // Threads beyond the last row repeat it, so that all reach the barriers; they store nothing.
  let row = min(wanted, rows - 1u);
  let n = f32(u.width);
//# if BACKWARD
  let mean = load_stats(row * 2u);
  let scale = load_stats(row * 2u + 1u);
//#   if KIND == layernorm
  let mean0 = sum0(row, lane, thread, mean, scale) / n;
//#   else
  let mean0 = 0.0;
//#   end
  let mean1 = sum1(row, lane, thread, mean, scale) / n;
  if (wanted >= rows) { return; }
  for (var c = lane; c < u.width / ${VEC ? 4 : 1}u; c += ${LANES}u) {
    let i = at(row, c);
    let xhat = (${LOAD}_x(i) - mean) * scale;
    let value = scale * (${LOAD}_dy(i) * ${LOAD}_weight(c) - mean0 - xhat * mean1);
//#   if ACC
    ${STORE}_dx(i, ${LOAD}_dx(i) + value);
//#   else
    ${STORE}_dx(i, value);
//#   end
  }
//# else
//#   if KIND == layernorm
  let mean = sum0(row, lane, thread, 0.0, 0.0) / n;
//#   else
  let mean = 0.0;
//#   end
  let scale = 1.0 / sqrt(sum1(row, lane, thread, mean, 0.0) / n + u.eps);
  if (wanted >= rows) { return; }
  if (lane == 0u) {
    store_stats(row * 2u, mean);
    store_stats(row * 2u + 1u, scale);
  }
  for (var c = lane; c < u.width / ${VEC ? 4 : 1}u; c += ${LANES}u) {
    let i = at(row, c);
//#   if BIAS
    ${STORE}_y(i, (${LOAD}_x(i) - mean) * scale * ${LOAD}_weight(c) + ${LOAD}_bias(c));
//#   else
    ${STORE}_y(i, (${LOAD}_x(i) - mean) * scale * ${LOAD}_weight(c));
//#   end
  }
//# end
}
