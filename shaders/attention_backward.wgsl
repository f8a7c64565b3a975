// The backward of attention (Dao et al. 2022, without tiles in workgroup memory): no atomics, no (T, T) matrix.
//   STEP delta: delta (B*T, NH) = rows' sums of dout * out.
//   STEP query: dq; a lane is a query, keys ascend.
//   STEP key:   dk and dv; a lane is a key, the query heads that read it and their queries ascend.
//# include attention
//# if STEP == delta
//# tensor out : read
//# tensor dout : read
//# tensor delta : write
//# else
//#   if VEC
//# tensor qkv : read vec4
//# tensor dout : read vec4
//#   else
//# tensor qkv : read
//# tensor dout : read
//#   end
//# tensor lse : read
//# tensor delta : read
//#   if DROP
//# include random
//# uniforms seed site threshold drop_scale:f32
//# tensor ids : read u32
//#   end
//# tensor dqkv : ${ACC ? read_write : write}

//#   for s in 0..2
//#     let FROM = s == 0 ? qkv : dout
fn vector${s}(at: u32, d: u32) -> vec4f {
//#     if VEC
  return load4_${FROM}(at / 4u + d);
//#     else
  let i = at + d * 4u;
  let left = HS - d * 4u;
  var value = vec4f(load_${FROM}(i), 0.0, 0.0, 0.0);
  if (left > 1u) { value.y = load_${FROM}(i + 1u); }
  if (left > 2u) { value.z = load_${FROM}(i + 2u); }
  if (left > 3u) { value.w = load_${FROM}(i + 3u); }
  return value;
//#     end
}
//#   end

fn store_vector(at: u32, d: u32, value: vec4f) {
  let i = at + d * 4u;
//#   for c in 0..4
  if (d * 4u + ${c}u < HS) {
//#     if ACC
    store_dqkv(i + ${c}u, load_dqkv(i + ${c}u) + value[${c}]);
//#     else
    store_dqkv(i + ${c}u, value[${c}]);
//#     end
  }
//#   end
}
//# end

@compute @workgroup_size(${LANES})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let T = live.columns;
  let index = group_index(group, groups);
//# if STEP == delta
  let i = index * ${LANES}u + lane;
  if (i >= live_samples() * T * NH) { return; }
  var sum = 0.0;
  for (var d = 0u; d < HS; d++) { sum = fma(load_out(i * HS + d), load_dout(i * HS + d), sum); }
  store_delta(i, sum);
//# else
  let blocks = (T + ${LANES - 1}u) / ${LANES}u;
  let first = (index % blocks) * ${LANES}u;
  let t = min(first + lane, T - 1u); // lanes beyond the end repeat the last one and store nothing
  let heads = ${STEP == query ? NH : NK}u;
  let head = (index / blocks) % heads;
  let b = index / (blocks * heads);
  if (b >= live_samples()) { return; }
  let row0 = b * T;
//#   if DROP
  let key = dropout_key(u.seed, u.site, load_ids(u.sample0 + b));
//#   end
//#   if STEP == query
  let k_column = (NH + head / (NH / NK)) * HS;
  let v_column = k_column + NK * HS;
  let q_at = (row0 + t) * u.width + head * HS;
  let o_at = ((row0 + t) * NH + head) * HS;
//#     for d in 0..D4
  let q${d} = vector0(q_at, ${d}u) * u.scale;
  let g${d} = vector1(o_at, ${d}u);
  var dq${d} = vec4f();
//#     end
  let lse = load_lse((row0 + t) * NH + head);
  let delta = load_delta((row0 + t) * NH + head);
  let last_key = min(first + ${LANES - 1}u, T - 1u);
  for (var j = 0u; j <= last_key; j++) {
    let row = (row0 + j) * u.width;
//#     for d in 0..D4
    let k${d} = vector0(row + k_column, ${d}u);
//#     end
    var score4 = q0 * k0;
    var dp4 = g0 * vector0(row + v_column, 0u);
//#     for d in 1..D4
    score4 = fma(q${d}, k${d}, score4);
    dp4 = fma(g${d}, vector0(row + v_column, ${d}u), dp4);
//#     end
    let score = (score4.x + score4.y) + (score4.z + score4.w);
    let p = exp(select(MASKED, score - lse, j <= t));
//#     if DROP
    let dp = ((dp4.x + dp4.y) + (dp4.z + dp4.w)) *
      dropout_factor(key, (head * T + t) * T + j, u.threshold, u.drop_scale);
//#     else
    let dp = (dp4.x + dp4.y) + (dp4.z + dp4.w);
//#     end
    let ds = vec4f(p * (dp - delta));
//#     for d in 0..D4
    dq${d} = fma(ds, k${d}, dq${d});
//#     end
  }
  if (first + lane >= T) { return; }
//#     for d in 0..D4
  store_vector(q_at, ${d}u, dq${d} * u.scale);
//#     end
//#   else
  let k_at = (row0 + t) * u.width + (NH + head) * HS;
  let v_at = k_at + NK * HS;
//#     for d in 0..D4
  let k${d} = vector0(k_at, ${d}u) * u.scale;
  let v${d} = vector0(v_at, ${d}u);
  var dk${d} = vec4f();
  var dv${d} = vec4f();
//#     end
  for (var h = head * (NH / NK); h < (head + 1u) * (NH / NK); h++) {
    for (var i = first; i < T; i++) {
      let q_at = (row0 + i) * u.width + h * HS;
      let o_at = ((row0 + i) * NH + h) * HS;
//#     for d in 0..D4
      let q${d} = vector0(q_at, ${d}u);
      let g${d} = vector1(o_at, ${d}u);
//#     end
      var score4 = q0 * k0;
      var dp4 = g0 * v0;
//#     for d in 1..D4
      score4 = fma(q${d}, k${d}, score4);
      dp4 = fma(g${d}, v${d}, dp4);
//#     end
      let score = (score4.x + score4.y) + (score4.z + score4.w);
      let p = exp(select(MASKED, score - load_lse((row0 + i) * NH + h), t <= i));
//#     if DROP
      let factor = dropout_factor(key, (h * T + i) * T + t, u.threshold, u.drop_scale);
      let weight = vec4f(p * factor);
      let dp = ((dp4.x + dp4.y) + (dp4.z + dp4.w)) * factor;
//#     else
      let weight = vec4f(p);
      let dp = (dp4.x + dp4.y) + (dp4.z + dp4.w);
//#     end
      let ds = vec4f(p * (dp - load_delta((row0 + i) * NH + h)));
//#     for d in 0..D4
      dv${d} = fma(weight, g${d}, dv${d});
      dk${d} = fma(ds, q${d}, dk${d});
//#     end
    }
  }
  if (first + lane >= T) { return; }
//#     for d in 0..D4
  store_vector(k_at, ${d}u, dk${d} * u.scale);
  store_vector(v_at, ${d}u, dv${d});
//#     end
//#   end
//# end
}
