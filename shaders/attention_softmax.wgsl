// The rows of a block's scores; a thread is a row (a query of a head).
//   STEP forward:  scores -> weights of the values; lse (B*T, NH).
//   STEP backward: scores -> weights of the values; dscores: gradient of the weights -> gradient of q k^T.
// Both leave 0 where a key is masked out. Order of a row's sum: four chains, key j in chain j % 4.
//# include attention
//# uniforms scale:f32
//# if DROP
//# include random
//# uniforms seed site threshold drop_scale:f32
//# tensor ids : read u32
//# end
//# tensor scores : read_write vec4
//# if STEP == forward
//# tensor lse : write
//# else
//# tensor dscores : read_write vec4
//# tensor lse : read
//# tensor delta : read
//# end

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let rows = block_rows();
  let query_row = group * ${LANES}u + lane;
  let heads = u.kv_heads * group_size();
  let pair = query_row / rows;
  let row = query_row % rows;
  let sample = pair / heads;
  if (sample >= live_samples()) { return; }
  let head = u.kv_head0 * group_size() + pair % heads;
  let column = first_query() + row;
  let query = live.start + column;
  let at = (pair * ROWS + row) * (u.pitch / 4u);
  let seen = query / 4u + 1u; // groups of four keys, the last one in part
  let groups_of_keys = (block_keys() + 3u) / 4u;
  let row_at = (sample * live.columns + column) * u.NH + head;
//# if DROP
  let key = dropout_key(u.seed, u.site, load_ids(u.sample0 + sample));
  let element = (head * live.columns + column) * live.columns;
//# end
//# if STEP == forward
  var top4 = vec4f(-3.4e38);
  for (var g = 0u; g < seen; g++) {
    let s = load4_scores(at + g) * u.scale;
    top4 = max(top4, select(vec4f(-3.4e38), s, vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u) <= vec4u(query)));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  var sum4 = vec4f();
  for (var g = 0u; g < seen; g++) {
    let e = exp(load4_scores(at + g) * u.scale - top);
    sum4 += select(vec4f(), e, vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u) <= vec4u(query));
  }
  let log_sum = top + log((sum4.x + sum4.y) + (sum4.z + sum4.w));
  store_lse(row_at, log_sum);
//# else
  let log_sum = load_lse(row_at);
  let delta = load_delta(row_at);
//# end
  for (var g = 0u; g < groups_of_keys; g++) {
    let visible = vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u) <= vec4u(query);
    let p = select(vec4f(), exp(load4_scores(at + g) * u.scale - log_sum), visible);
//# if DROP
    let factor = vec4f(
      dropout_factor(key, element + g * 4u, u.threshold, u.drop_scale),
      dropout_factor(key, element + g * 4u + 1u, u.threshold, u.drop_scale),
      dropout_factor(key, element + g * 4u + 2u, u.threshold, u.drop_scale),
      dropout_factor(key, element + g * 4u + 3u, u.threshold, u.drop_scale),
    );
//# else
    let factor = vec4f(1.0);
//# end
    store4_scores(at + g, p * factor);
//# if STEP == backward
    let dp = load4_dscores(at + g) * factor;
    store4_dscores(at + g, select(vec4f(), p * (dp - delta) * u.scale, visible));
//# end
  }
}
