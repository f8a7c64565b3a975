// dtable[id] += sum of dy over the tokens with that id, in ascending order. The tokens come sorted by id: those of
// the d-th distinct id, ids[d], are order[starts[d]] to order[starts[d + 1] - 1]. One lane a column.
// Everything comes in windows: `distinct` ids from distinct0 on, `orders` of the order from order0 on. Windows of dy, and
// in each of them windows of the order, follow one another, so that every id's tokens keep their order.
//# include rows
//# uniforms width vocab0 vocab distinct0 distinct order0 orders
//# tensor ids : read u32
//# tensor starts : read u32
//# tensor order : read u32
//# tensor dy : read
//# tensor dtable : read_write

//# threads 64
fn kernel(group: u32, lane: u32) {
  let across = (u.width + 63u) / 64u;
  let d = group / across;
  let column = (group % across) * 64u + lane;
  if (d >= u.distinct || u.distinct0 + d >= live.${DISTINCT} || column >= u.width) { return; }
  let row = load_ids(d) - u.vocab0; // wraps to a large number below the window
  if (row >= u.vocab) { return; }
  let rows = live_rows();
  let begin = max(load_starts(d), u.order0);
  let end = min(load_starts(d + 1u), u.order0 + u.orders);
  if (begin >= end) { return; }
  var sum = load_dtable(row * u.width + column);
  for (var i = begin; i < end; i++) {
    let token = load_order(i - u.order0) - u.row0; // wraps to a large number below the window
    if (token < rows) { sum += load_dy(token * u.width + column); }
  }
  store_dtable(row * u.width + column, sum);
}
