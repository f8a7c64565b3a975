// Rows of a window that are in use: a step may use fewer than were recorded.
//# uniforms row0 rows
fn live_rows() -> u32 {
//# if LIVE
  return min(u.rows, max(live.rows, u.row0) - u.row0);
//# else
  return u.rows;
//# end
}
