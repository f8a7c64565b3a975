// dtable[id] += sum of dy over the tokens with that id, in ascending order. The tokens come sorted by id: those of
// the d-th distinct id, ids[d], are order[starts[d]] to order[starts[d + 1] - 1]. One lane a column.
//# include rows
//# uniforms width vocab0 vocab
//# tensor ids : read u32
//# tensor starts : read u32
//# tensor order : read u32
//# tensor dy : read
//# tensor dtable : read_write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let across = (u.width + 63u) / 64u;
  let distinct = group / across;
  let column = (group % across) * 64u + lane;
  if (distinct >= live.distinct || column >= u.width) { return; }
  let row = load_ids(distinct) - u.vocab0; // wraps to a large number below the window
  if (row >= u.vocab) { return; }
  let rows = live_rows();
  let end = load_starts(distinct + 1u);
  var sum = load_dtable(row * u.width + column);
  for (var i = load_starts(distinct); i < end; i++) {
    let token = load_order(i) - u.row0; // wraps to a large number below the window
    if (token < rows) { sum += load_dy(token * u.width + column); }
  }
  store_dtable(row * u.width + column, sum);
}
