// Gradients of the bias that queries and keys at a distance share. buckets (2 reach + 1): the bucket of distance i - j,
// held within the reach.
//   STEP rows: out (pairs, rows, buckets), each query's sums of its dscores, keys ascending. A thread is a query.
//     As keys ascend, buckets come in runs, each of them once.
//   STEP sums: out (pairs, buckets) = or += the sums over the queries, ascending. A thread is a bucket of a head.
//# include attention
//# uniforms num_buckets
//# if STEP == rows
//# uniforms reach scale:f32
//# tensor buckets : read u32
//# tensor dscores : read
//# tensor out : write
//# else
//# tensor sums : read
//# tensor out : ${FIRST ? write : read_write}
//# end

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let rows = block_rows();
  let i = group * ${LANES}u + lane;
//# if STEP == rows
  let pair = i / rows;
  let row = i % rows;
  if (pair >= live_kvs() * u.members) { return; }
  let sample = sample_of(pair / u.members);
  let at = (pair * u.rows + row) * u.pitch;
  let out_at = (pair * u.rows + row) * u.num_buckets;
  for (var bucket = 0u; bucket < u.num_buckets; bucket++) { store_out(out_at + bucket, 0.0); }
  let reach = i32(u.reach);
  let query = i32(live.start + u.first_query + row - u.first_key); // in columns of the scratch
  var current = 0u;
  var sum = 0.0;
  for (var j = seen_from(sample, row); j < seen_to(sample, row); j++) {
    let bucket = load_buckets(u32(clamp(query - i32(j), -reach, reach) + reach));
    if (bucket != current) {
      store_out(out_at + current, sum);
      current = bucket;
      sum = 0.0;
    }
    sum += load_dscores(at + j) / u.scale;
  }
  store_out(out_at + current, sum);
//# else
  let pair = i / u.num_buckets;
  let bucket = i % u.num_buckets;
  if (pair >= live_kvs() * u.members) { return; }
  let out_at = pair_at(pair) * u.num_buckets + bucket;
//#   if FIRST
  var sum = 0.0;
//#   else
  var sum = load_out(out_at);
//#   end
  for (var row = 0u; row < rows; row++) { sum += load_sums((pair * u.rows + row) * u.num_buckets + bucket); }
  store_out(out_at, sum);
//# end
}
