// Keys or values of each head, turned: out (B, NK, HS, pitch) from rows. A lane is a token.
//   KEYS own: the tokens themselves; source: those of the encoder.
//# uniforms sample0 samples pitch NK HS width offset
//# tensor rows : read
//# tensor out : write

//# threads ${LANES}
fn kernel(group: u32, lane: u32) {
//# if KEYS == source
  let T = live.source;
//# else
  let T = live.columns;
//# end
  let blocks = (T + ${LANES - 1}u) / ${LANES}u;
  let head = (group / blocks) % u.NK;
  let sample = group / (blocks * u.NK);
  let t = (group % blocks) * ${LANES}u + lane;
  if (sample >= min(u.samples, max(live.batch, u.sample0) - u.sample0) || t >= T) { return; }
  let at = (sample * T + t) * u.width + u.offset + head * u.HS;
  let out_at = (sample * u.NK + head) * u.HS * u.pitch + t;
  for (var d = 0u; d < u.HS; d++) { store_out(out_at + d * u.pitch, load_rows(at + d)); }
}
