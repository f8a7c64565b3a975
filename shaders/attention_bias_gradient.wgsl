// Gradients of the bias that queries and keys at a distance share, one row for each query: out (B*T, buckets, NH) from
// a block's dscores. buckets (2 reach + 1): the bucket of distance i - j, held within the reach. A thread is a row of
// the block (a query of a head); keys ascending. As keys ascend, buckets come in runs, each of them once.
//# include attention
//# uniforms reach num_buckets scale:f32
//# tensor buckets : read u32
//# tensor dscores : read
//# tensor out : write

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
  let at = (pair * ROWS + row) * u.pitch;
  let out_at = (sample * live.columns + column) * u.num_buckets * u.NH + head;
  for (var bucket = 0u; bucket < u.num_buckets; bucket++) { store_out(out_at + bucket * u.NH, 0.0); }
  let reach = i32(u.reach);
  var current = 0u;
  var sum = 0.0;
  for (var j = seen_from(sample, row); j < seen_to(sample, row); j++) {
    let distance = clamp(i32(live.start + column) - i32(u.first_key + j), -reach, reach);
    let bucket = load_buckets(u32(distance + reach));
    if (bucket != current) {
      store_out(out_at + current * u.NH, sum);
      current = bucket;
      sum = 0.0;
    }
    sum += load_dscores(at + j) / u.scale;
  }
  store_out(out_at + current * u.NH, sum);
}
