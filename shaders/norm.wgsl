// LayerNorm (KIND layernorm) and RMSNorm (KIND rmsnorm) over rows of `width` values.
//   BACKWARD 0: y and stats = (mean, 1 / deviation) of each row; the mean of an RMSNorm is 0.
//   BACKWARD 1: dx from dy, x and stats.
//
// LANES, ROWS, VEC: as in row_sums.
//# let SUMS = 2
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

//# include row_sums

//# threads ${LANES * ROWS}
fn kernel(group: u32, thread: u32) {
  let rows = live_rows();
  let lane = thread % ${LANES}u;
  let wanted = group * ${ROWS}u + thread / ${LANES}u;
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
