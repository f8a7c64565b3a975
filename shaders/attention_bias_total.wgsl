// out (buckets, NH) = or += the sums over samples, ascending, of sums (B, NH, buckets). A dispatch covers `samples`
// samples from `sample0` on.
//# uniforms sample0 samples num_buckets NH
//# tensor sums : read
//# tensor out : ${ACC ? read_write : write}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= u.num_buckets * u.NH) { return; }
//# if ACC
  var sum = load_out(i);
//# else
  var sum = 0.0;
//# end
  let at = i % u.NH * u.num_buckets + i / u.NH;
  let samples = min(u.samples, max(live.batch, u.sample0) - u.sample0);
  for (var s = 0u; s < samples; s++) { sum += load_sums(s * u.NH * u.num_buckets + at); }
  store_out(i, sum);
}
