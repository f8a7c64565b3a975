// Softmax cross entropy of rows of logits (rows, width): loss = lse - logit of the target + z_loss * lse^2; a row
// whose target is negative has none. GRADIENT 1: the logits are replaced by the gradient of the sum of the losses.
//
// Order of a row's sum: 32 chains, column c in chain c % 32, added as a tree. LANES 32: a chain a lane.
// LANES 1: a thread computes all chains of its row.
//# include rows
//# uniforms width z_loss:f32
//# tensor targets : read i32
//# tensor logits : read_write
//# tensor losses : write

// losses (rows, 2): cross entropy, lse^2.

//# if LANES == 32
var<workgroup> chains: array<f32, ${32 * ROWS}>;
//# end

//# threads ${LANES == 32 ? 32 * ROWS : 8}
fn kernel(group: u32, thread: u32) {
  let rows = live_rows();
//# if LANES == 32
  let lane = thread % 32u;
  let wanted = group * ${ROWS}u + thread / 32u;
//# else
  let wanted = group * 8u + thread;
//# end
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
  workgroupBarrier();
  var chain = 0.0;
  for (var c = lane; c < u.width; c += 32u) { chain += exp(load_logits(at + c) - top); }
  chains[thread] = chain;
//#   for step in 0..5
//#     let HALF = step == 0 ? 16 : step == 1 ? 8 : step == 2 ? 4 : step == 3 ? 2 : 1
  workgroupBarrier();
  if (lane < ${HALF}u) { chains[thread] += chains[thread + ${HALF}u]; }
//#   end
  workgroupBarrier();
  let lse = top + log(chains[thread - lane]);
  let first = lane;
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
  var chains: array<vec4f, 8>; // four chains each
  for (var j = 0u; j < 8u; j++) {
    var sum = vec4f();
    for (var c = 4u * j; c < u.width; c += 32u) {
      let value = vec4f(
        load_logits(at + c),
        load_logits(at + min(c + 1u, last)),
        load_logits(at + min(c + 2u, last)),
        load_logits(at + min(c + 3u, last)),
      );
      sum += select(vec4f(), exp(value - top), vec4u(c) + vec4u(0u, 1u, 2u, 3u) <= vec4u(last));
    }
    chains[j] = sum;
  }
  let by16 = array<vec4f, 4>(
    chains[0] + chains[4],
    chains[1] + chains[5],
    chains[2] + chains[6],
    chains[3] + chains[7],
  );
  let by4 = (by16[0] + by16[2]) + (by16[1] + by16[3]);
  let lse = top + log((by4.x + by4.z) + (by4.y + by4.w));
  let first = 0u;
//# end
  let wanted_id = load_targets(row);
  let counts = wanted_id >= 0;
  if (wanted < rows && first == 0u) {
    store_losses(row * 2u, select(0.0, lse - load_logits(at + u32(max(wanted_id, 0))), counts));
    store_losses(row * 2u + 1u, select(0.0, lse * lse, counts));
  }
//# if GRADIENT
//#   if LANES == 32
  storageBarrier(); // the target's logit has been read
//#   end
  if (wanted >= rows) { return; }
  let slope = select(0.0, 1.0 + 2.0 * u.z_loss * lse, counts);
  for (var c = first; c < u.width; c += ${LANES}u) {
    let p = exp(load_logits(at + c) - lse) * slope;
    store_logits(at + c, select(p, p - 1.0, counts && c == u32(max(wanted_id, 0))));
  }
//# end
}
