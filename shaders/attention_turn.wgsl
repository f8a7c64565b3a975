// Keys (PART 0) or values (PART 1) of each head, turned: out (B, NK, HS, pitch) from qkv. A lane is a token.
//# include attention
//# tensor qkv : read
//# tensor out : write

@compute @workgroup_size(${LANES})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let T = live.columns;
  let blocks = (T + ${LANES - 1}u) / ${LANES}u;
  let index = group_index(group, groups);
  let head = (index / blocks) % u.NK;
  let sample = index / (blocks * u.NK);
  let t = (index % blocks) * ${LANES}u + lane;
  if (sample >= live_samples() || t >= T) { return; }
  let at = (sample * T + t) * u.width + (u.NH + ${PART}u * u.NK + head) * u.HS;
  let out_at = (sample * u.NK + head) * u.HS * u.pitch + t;
  for (var d = 0u; d < u.HS; d++) { store_out(out_at + d * u.pitch, load_qkv(at + d)); }
}
