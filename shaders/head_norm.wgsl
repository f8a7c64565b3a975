// RMS norm of single heads. A row has `heads` heads of `width` values; those of RUNS runs, one behind the other from the first
// head on, are normalised, a run's by its own weight; the other heads are copied. Run r ends before head end<r>.
//   BACKWARD 0: y, and scales: 1 / root mean square of each normalised head.
//   BACKWARD 1: dx from dy, x and scales.
// LANES, ROWS, VEC: as in row_sums, where a row is a head.
//# let SUMS = 1
//# let LAST = RUNS - 1
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms heads width
//# tensor x : read ${FORM}
//# for r in 0..RUNS
//# uniforms end${r}
//# tensor weight${r} : read ${FORM}
//# end
//# if BACKWARD
//# tensor dy : read ${FORM}
//# tensor scales : read
//# tensor dx : ${ACC ? read_write : write} ${FORM}
//# else
//# uniforms eps:f32
//# tensor y : write ${FORM}
//# tensor scales : write
//# end

// Value c of a head, of which there are `heads` a row; with VEC values 4 c to 4 c + 3.
fn at(head: u32, c: u32) -> u32 { return head * (u.width / ${N}u) + c; }

fn weight(head: u32, c: u32) -> ${T} {
//# for r in 0..LAST
  if (head % u.heads < u.end${r}) { return ${LOAD}_weight${r}(c); }
//# end
  return ${LOAD}_weight${LAST}(c);
}

//# if BACKWARD
// The sum over a head of dxhat * xhat, where dxhat = dy * weight.
fn term0(head: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  return ${LOAD}_dy(at(head, c)) * weight(head, c) * (${LOAD}_x(at(head, c)) * scale);
}
//# else
// The sum over a head of x^2.
fn term0(head: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  let x = ${LOAD}_x(at(head, c));
  return x * x;
}
//# end
//# include row_sums

//# threads ${LANES * ROWS}
fn kernel(group: u32, thread: u32) {
  let heads = live_rows() * u.heads;
  let lane = thread % ${LANES}u;
  let wanted = group * ${ROWS}u + thread / ${LANES}u;
  // Threads beyond the last head repeat it, so that all reach the barriers; they store nothing.
  let head = min(wanted, heads - 1u);
  let is_normed = head % u.heads < u.end${LAST};
  let slot = head / u.heads * u.end${LAST} + head % u.heads; // among the normalised heads
//# if BACKWARD
  let scale = select(0.0, load_scales(slot), is_normed);
  let mean = sum0(head, lane, thread, 0.0, scale) / f32(u.width);
  if (wanted >= heads) { return; }
//# else
  let mean = sum0(head, lane, thread, 0.0, 0.0) / f32(u.width);
  if (wanted >= heads) { return; }
  let scale = 1.0 / sqrt(mean + u.eps);
  if (lane == 0u && is_normed) { store_scales(slot, scale); }
//# end
  for (var c = lane; c < u.width / ${N}u; c += ${LANES}u) {
    let i = at(head, c);
//# if BACKWARD
    var value = ${LOAD}_dy(i);
    if (is_normed) { value = scale * (value * weight(head, c) - ${LOAD}_x(i) * scale * mean); }
//#   if ACC
    value += ${LOAD}_dx(i);
//#   end
    ${STORE}_dx(i, value);
//# else
    var value = ${LOAD}_x(i);
    if (is_normed) { value = value * scale * weight(head, c); }
    ${STORE}_y(i, value);
//# end
  }
}
