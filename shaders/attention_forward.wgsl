// out (B*T, NH*HS) = softmax(q k^T * scale) v, and lse (B*T, NH), the logarithm of each row's sum; the (T, T) matrix
// is nowhere. A lane is a query; all lanes of a workgroup belong to one head of one sample and share their keys.
//
// Order: keys in blocks of 8 (online softmax, Milakov and Gimelshein 2018); within a block and within a dot product's
// four chains, ascending.
//   CACHE 1: keys and values come from `cache` (B, S, 2 NK HS), where those of this call have been stored already.
//# include attention
//# if VEC
//# tensor qkv : read vec4
//# else
//# tensor qkv : read
//# end
//# if CACHE
//# uniforms cache_rows
//#   if VEC
//# tensor cache : read vec4
//#   else
//# tensor cache : read
//#   end
//# end
//# if DROP
//# include random
//# uniforms seed site threshold drop_scale:f32
//# tensor ids : read u32
//# end
//# tensor out : write
//# tensor lse : write

//# for s in 0..2
//#   let FROM = s == 1 && CACHE ? cache : qkv
fn vector${s}(at: u32, d: u32) -> vec4f {
//#   if VEC
  return load4_${FROM}(at / 4u + d);
//#   else
  let i = at + d * 4u;
  let left = HS - d * 4u;
  var value = vec4f(load_${FROM}(i), 0.0, 0.0, 0.0);
  if (left > 1u) { value.y = load_${FROM}(i + 1u); }
  if (left > 2u) { value.z = load_${FROM}(i + 2u); }
  if (left > 3u) { value.w = load_${FROM}(i + 3u); }
  return value;
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
  let blocks = (T + ${LANES - 1}u) / ${LANES}u;
  let index = group_index(group, groups);
  let h = (index / blocks) % NH;
  let b = index / (blocks * NH);
  if (b >= live_samples()) { return; }
  let first = (index % blocks) * ${LANES}u;
  let t = min(first + lane, T - 1u); // lanes beyond the end repeat the last query and store nothing
  let query = live.start + t;
  let last_key = live.start + min(first + ${LANES - 1}u, T - 1u);
  let kv_head = h / (NH / NK);
//# if CACHE
  let row_width = 2u * NK * HS;
  let k_at = b * u.cache_rows * row_width + kv_head * HS;
//# else
  let row_width = u.width;
  let k_at = b * T * row_width + (NH + kv_head) * HS;
//# end
  let v_at = k_at + NK * HS;
//# if DROP
  let key = dropout_key(u.seed, u.site, load_ids(u.sample0 + b));
//# end

  let q_at = (b * T + t) * u.width + h * HS;
//# for d in 0..D4
  let q${d} = vector0(q_at, ${d}u) * u.scale;
  var o${d} = vec4f();
//# end
  var top = MASKED;
  var sum = 0.0;
  for (var j = 0u; j <= last_key; j += 8u) {
//# for k in 0..8
    var s${k} = MASKED;
    {
      let at = k_at + min(j + ${k}u, last_key) * row_width;
      var dot4 = q0 * vector1(at, 0u);
//#   for d in 1..D4
      dot4 = fma(q${d}, vector1(at, ${d}u), dot4);
//#   end
      s${k} = select(MASKED, (dot4.x + dot4.y) + (dot4.z + dot4.w), j + ${k}u <= query);
    }
//# end
    let new_top = max(top, max(max(max(s0, s1), max(s2, s3)), max(max(s4, s5), max(s6, s7))));
    let shrink = exp(top - new_top);
    top = new_top;
    sum *= shrink;
//# for d in 0..D4
    o${d} *= shrink;
//# end
//# for k in 0..8
    {
      let p = exp(s${k} - top);
      sum += p;
//#   if DROP
      let weight = vec4f(p * dropout_factor(key, (h * T + t) * T + j + ${k}u, u.threshold, u.drop_scale));
//#   else
      let weight = vec4f(p);
//#   end
      let at = v_at + min(j + ${k}u, last_key) * row_width;
//#   for d in 0..D4
      o${d} = fma(weight, vector1(at, ${d}u), o${d});
//#   end
    }
//# end
  }
  if (first + lane >= T) { return; }
  let out_at = ((b * T + t) * NH + h) * HS;
//# for d in 0..D4
  let value${d} = o${d} / sum;
//#   for c in 0..4
//#     if d * 4 + c < HS
  store_out(out_at + ${d * 4 + c}u, value${d}[${c}]);
//#     end
//#   end
//# end
  store_lse((b * T + t) * NH + h, top + log(sum));
}
