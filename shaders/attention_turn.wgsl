// Keys (PART 0) or values (PART 1) of each head, turned: out (B, NK, HS, pitch) from qkv. A lane is a token.
//# include attention
//# tensor qkv : read
//# tensor out : write

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
  let T = live.columns;
  let blocks = (T + ${LANES - 1}u) / ${LANES}u;
  let head = (group / blocks) % u.NK;
  let sample = group / (blocks * u.NK);
  let t = (group % blocks) * ${LANES}u + lane;
  if (sample >= live_samples() || t >= T) { return; }
  let at = (sample * T + t) * u.width + (u.NH + ${PART}u * u.NK + head) * u.HS;
  let out_at = (sample * u.NK + head) * u.HS * u.pitch + t;
  for (var d = 0u; d < u.HS; d++) { store_out(out_at + d * u.pitch, load_qkv(at + d)); }
}
