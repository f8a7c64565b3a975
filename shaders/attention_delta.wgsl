// delta (B*T, NH) = sums of dout * out over each head's HS values, ascending.
//# include rows
//# uniforms NH HS
//# tensor out : read
//# tensor dout : read
//# tensor delta : write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= live_rows() * u.NH) { return; }
  var sum = 0.0;
  for (var d = 0u; d < u.HS; d++) { sum = fma(load_out(i * u.HS + d), load_dout(i * u.HS + d), sum); }
  store_delta(i, sum);
}
