// Softmax cross entropy of rows of logits (rows, width): loss = lse - logit of the target + z_loss * lse^2; a row
// whose target is negative has none. GRADIENT 1: the logits are replaced by the gradient of the sum of the losses, by
// the logits as they were before soft_cap; inverse_cap is 1 / cap, or 0 where there is none.
//
// LANES, ROWS: as in row_sums.
//# let SUMS = 1
//# let VEC = 0
//# include rows
//# uniforms width z_loss:f32 inverse_cap:f32
//# tensor targets : read i32
//# tensor logits : read_write
//# tensor losses : write

// losses (rows, 2): cross entropy, lse^2.

// The sum over a row of the exponentials, of which the largest is 1.
fn term0(row: u32, c: u32, top: f32, scale: f32) -> f32 { return exp(load_logits(row * u.width + c) - top); }

//# include row_sums

//# threads ${LANES * ROWS}
fn kernel(group: u32, thread: u32) {
  let rows = live_rows();
  let lane = thread % ${LANES}u;
  let wanted = group * ${ROWS}u + thread / ${LANES}u;
  // Threads beyond the last row repeat it, so that all reach the barriers; they store nothing.
  let row = min(wanted, rows - 1u);
  let at = row * u.width;
//# if LANES == 32
  var top = -3.4e38;
  for (var c = lane; c < u.width; c += 32u) { top = max(top, load_logits(at + c)); }
  chains[thread] = top;
//#   for step in 0..5
//#     let HALF = step == 0 ? 16 : step == 1 ? 8 : step == 2 ? 4 : step == 3 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[thread] = max(chains[thread], chains[thread + ${HALF}u]); }
//#   end
  workgroupBarrier();
  top = chains[thread - lane];
//# else
  var top4 = vec4f(-3.4e38);
  let last = u.width - 1u;
  for (var c = 0u; c < u.width; c += 4u) {
    top4 = max(top4, vec4f(
      load_logits(at + c),
      load_logits(at + min(c + 1u, last)),
      load_logits(at + min(c + 2u, last)),
      load_logits(at + min(c + 3u, last)),
    ));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
//# end
  let lse = top + log(sum0(row, lane, thread, top, 0.0));
  let wanted_id = load_targets(row);
  let counts = wanted_id >= 0;
  if (wanted < rows && lane == 0u) {
    store_losses(row * 2u, select(0.0, lse - load_logits(at + u32(max(wanted_id, 0))), counts));
    store_losses(row * 2u + 1u, select(0.0, lse * lse, counts));
  }
//# if GRADIENT
//#   if LANES == 32
  storageBarrier(); // the target's logit has been read
//#   end
  if (wanted >= rows) { return; }
  let slope = select(0.0, 1.0 + 2.0 * u.z_loss * lse, counts);
  for (var c = lane; c < u.width; c += ${LANES}u) {
    let p = exp(load_logits(at + c) - lse) * slope;
    let tanh_x = load_logits(at + c) * u.inverse_cap;
    store_logits(at + c, select(p, p - 1.0, counts && c == u32(max(wanted_id, 0))) * (1.0 - tanh_x * tanh_x));
  }
//# end
}
