// The rows of a block's scores; a thread is a row (a query of a head).
//   STEP forward:  scores -> weights of the values; lse (B, NH, T), bound from the dispatch's first row on.
//   STEP backward: scores -> weights of the values; dscores: gradient of the weights -> gradient of q k^T.
//     What the normalisation takes back is the sum of out * dout over the head's HS values, ascending.
//     VEC 1: HS is a multiple of 4, and they are read four at a time.
// Both leave 0 where a key is not seen, in all columns that the products read. Order of a row's sum: four chains,
// column j of the scratch in chain j % 4.
//
//   BIAS alibi: scores lose slopes[head] * (i - j) for query i and key j.
//   BIAS table: they gain distances[head, i - j + reach], (NH, 2 reach + 1), i - j held within the reach.
//# include attention
//# uniforms scale:f32
//# if DROP
//# include random
//# uniforms seed site threshold drop_scale:f32
//# tensor ids : read u32
//# end
//# if BIAS == alibi
//# tensor slopes : read
//# end
//# if BIAS == table
//# uniforms reach
//# tensor distances : read
//# end
//# tensor scores : read_write vec4
//# if STEP == forward
//# tensor lse : write
//# else
//# uniforms out_width
//# tensor dscores : read_write vec4
//# tensor lse : read
//# let FORM = VEC ? vec4 : f32
//# tensor out : read ${FORM}
//# tensor dout : read ${FORM}
//# end

// Scores of four keys, `ahead` of which the query is at the first, from its products with them.
fn biased(products: vec4f, head: u32, ahead: i32) -> vec4f {
//# if BIAS == none
  return products * u.scale;
//# end
//# if BIAS == alibi
  return fma(products, vec4f(u.scale), -load_slopes(head) * vec4f(vec4i(ahead) - vec4i(0, 1, 2, 3)));
//# end
//# if BIAS == table
  let reach = i32(u.reach);
  let at = vec4i(i32(head) * (2 * reach + 1) + reach) + clamp(vec4i(ahead) - vec4i(0, 1, 2, 3), vec4i(-reach), vec4i(reach));
  let bias = vec4f(
    load_distances(u32(at.x)), load_distances(u32(at.y)), load_distances(u32(at.z)), load_distances(u32(at.w)),
  );
  return fma(products, vec4f(u.scale), bias);
//# end
}

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let rows = block_rows();
  let query_row = group * ${LANES}u + lane;
  let pair = query_row / rows;
  let row = query_row % rows;
  if (pair >= live_kvs() * u.members) { return; }
  let sample = sample_of(pair / u.members);
  let head = query_head(pair);
  let column = u.first_query + row;
  let query = i32(live.start + column - u.first_key); // in columns of the scratch
  let at = (pair * u.rows + row) * (u.pitch / 4u);
  let from_key = seen_from(sample, row);
  let to_key = seen_to(sample, row);
  let row_at = pair_at(pair) * u.T + row;
//# if DROP
  let key = dropout_key(u.seed, u.site, load_ids(sample));
  let element = (head * live.columns + column) * key_rows() + u.first_key;
//# end
//# if STEP == forward
  var top4 = vec4f(-3.4e38);
  for (var g = from_key / 4u; g * 4u < to_key; g++) {
    let j = vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u);
    let s = biased(load4_scores(at + g), head, query - i32(g * 4u));
    top4 = max(top4, select(vec4f(-3.4e38), s, (j >= vec4u(from_key)) & (j < vec4u(to_key))));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  var sum4 = vec4f();
  for (var g = from_key / 4u; g * 4u < to_key; g++) {
    let j = vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u);
    let e = exp(biased(load4_scores(at + g), head, query - i32(g * 4u)) - top);
    sum4 += select(vec4f(), e, (j >= vec4u(from_key)) & (j < vec4u(to_key)));
  }
  let log_sum = top + log((sum4.x + sum4.y) + (sum4.z + sum4.w));
  store_lse(row_at, log_sum);
//# else
  let log_sum = load_lse(row_at);
  let out_at = queries_at(pair, u.out_width, 0u) + row * u.out_width;
  var delta = 0.0;
//#   if VEC
  for (var d = 0u; d < u.HS; d += 4u) {
    let o = load4_out((out_at + d) / 4u);
    let g = load4_dout((out_at + d) / 4u);
//#     for i in 0..4
    delta = fma(o[${i}], g[${i}], delta);
//#     end
  }
//#   else
  for (var d = 0u; d < u.HS; d++) { delta = fma(load_out(out_at + d), load_dout(out_at + d), delta); }
//#   end
//# end
  // The products read whole tiles of 64 keys.
  let begin = seen_from(sample, 0u) & ~63u;
  let end = min((seen_to(sample, rows - 1u) + 63u) & ~63u, block_keys());
  for (var g = begin / 4u; g * 4u < end; g++) {
    let j = vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u);
    let visible = (j >= vec4u(from_key)) & (j < vec4u(to_key));
    let p = select(vec4f(), exp(biased(load4_scores(at + g), head, query - i32(g * 4u)) - log_sum), visible);
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
