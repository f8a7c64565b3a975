// Learned positions, over (rows, width) tokens.
//   BACKWARD 0: y = x + table[start + t].  BACKWARD 1: dtable[t] += sum over the batch of dy[b, t], b ascending.
// The table comes in windows of rows: position0 to position0 + positions.
//# include rows
//# uniforms width position0 positions
//# if BACKWARD
//# tensor dy : read
//# tensor dtable : read_write
//# else
//# tensor x : read
//# tensor table : read
//# tensor y : ${PART ? read_write : write}
//# end

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
//# if BACKWARD
  let position = u.position0 + i / u.width;
  if (i / u.width >= u.positions || position < live.start || position >= live.start + live.columns) { return; }
  let t = position - live.start;
  var sum = load_dtable(i);
  let rows = live_rows();
  for (var b = 0u; b < live.batch; b++) {
    let row = b * live.columns + t - u.row0; // wraps to a large number below the window
    if (row < rows) { sum += load_dy(row * u.width + i % u.width); }
  }
  store_dtable(i, sum);
//# else
  if (i >= live_rows() * u.width) { return; }
  let position = live.start + (u.row0 + i / u.width) % live.columns - u.position0; // wraps below the window
  if (position < u.positions) { store_y(i, load_x(i) + load_table(position * u.width + i % u.width)); }
//# end
}
