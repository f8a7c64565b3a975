// LayerNorm (KIND layernorm) and RMSNorm (KIND rmsnorm) over rows of `width` values.
//   BACKWARD 0: y and stats = (mean, 1 / deviation) of each row; the mean of an RMSNorm is 0.
//   BACKWARD 1: dx from dy, x and stats.
//
// Order of a row's sums: 32 chains, column c in chain c % 32, added as a tree (chain l and l + 16, then 8, 4, 2, 1).
// LANES 32: a chain a lane. LANES 1: a thread computes all chains of its row.
//# include rows
//# uniforms width
//# tensor x : read
//# tensor weight : read
//# if BACKWARD
//# tensor dy : read
//# tensor stats : read
//# tensor dx : ${ACC ? read_write : write}
//# else
//# uniforms eps:f32
//#   if BIAS
//# tensor bias : read
//#   end
//# tensor y : write
//# tensor stats : write
//# end

//# if BACKWARD
// The sums over a row: of dxhat, and of dxhat * xhat, where dxhat = dy * weight.
fn term0(row: u32, c: u32, mean: f32, scale: f32) -> f32 {
  return load_dy(row * u.width + c) * load_weight(c);
}
fn term1(row: u32, c: u32, mean: f32, scale: f32) -> f32 {
  return load_dy(row * u.width + c) * load_weight(c) * ((load_x(row * u.width + c) - mean) * scale);
}
//# else
// The sums over a row: of x, and of (x - mean)^2.
fn term0(row: u32, c: u32, mean: f32, scale: f32) -> f32 { return load_x(row * u.width + c); }
fn term1(row: u32, c: u32, mean: f32, scale: f32) -> f32 {
  let centred = load_x(row * u.width + c) - mean;
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
    for (var c = 4u * j; c < u.width; c += 32u) {
      let value = vec4f(
        term${s}(row, c, mean, scale),
        term${s}(row, min(c + 1u, last), mean, scale),
        term${s}(row, min(c + 2u, last), mean, scale),
        term${s}(row, min(c + 3u, last), mean, scale),
      );
      sum += select(vec4f(), value, vec4u(c) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last));
    }
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

@compute @workgroup_size(${LANES == 32 ? 32 * ROWS : 8})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let rows = live_rows();
//# if LANES == 32
  let lane = thread % 32u;
  let wanted = group_index(group, groups) * ${ROWS}u + thread / 32u;
//# else
  let lane = 0u;
  let wanted = group_index(group, groups) * 8u + thread;
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
  for (var c = lane; c < u.width; c += ${LANES}u) {
    let i = row * u.width + c;
    let xhat = (load_x(i) - mean) * scale;
    let value = scale * (load_dy(i) * load_weight(c) - mean0 - xhat * mean1);
//#   if ACC
    store_dx(i, load_dx(i) + value);
//#   else
    store_dx(i, value);
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
  for (var c = lane; c < u.width; c += ${LANES}u) {
    let i = row * u.width + c;
//#   if BIAS
    store_y(i, (load_x(i) - mean) * scale * load_weight(c) + load_bias(c));
//#   else
    store_y(i, (load_x(i) - mean) * scale * load_weight(c));
//#   end
  }
//# end
}
