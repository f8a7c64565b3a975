// Heads side by side in rows of tokens, and the same behind one another: heads (B, H, T, HS).
//   TO heads: copies them out of the rows; TO rows: copies them into the rows.
//   KEYS own: the tokens themselves; source: those of the encoder; cache: those of a cache, as far as it is filled.
// A dispatch covers what lies in both windows: `rows` rows from row0 on, `head_rows` rows of HS from head_row0 on.
//# uniforms row0 rows width offset head_row0 head_rows T H HS
//# tensor rows : ${TO == rows ? write : read}
//# tensor heads : ${TO == rows ? read : write}

//# threads 64
fn kernel(group: u32, lane: u32) {
//# if KEYS == cache
  let per_sample = u.T;
  let filled = live.start + live.columns;
//# else
  let per_sample = live.${KEYS == source ? source : columns};
  let filled = per_sample;
//# end
  let i = group * 64u + lane;
  let row = i / (u.H * u.HS);
  let column = i % (u.H * u.HS);
  let sample = (u.row0 + row) / per_sample;
  let t = (u.row0 + row) % per_sample;
  if (row >= u.rows || sample >= live.batch || t >= filled) { return; }
  let head_row = (sample * u.H + column / u.HS) * u.T + t;
  if (head_row < u.head_row0 || head_row >= u.head_row0 + u.head_rows) { return; }
  let at = row * u.width + u.offset + column;
  let head_at = (head_row - u.head_row0) * u.HS + column % u.HS;
//# if TO == rows
  store_rows(at, load_heads(head_at));
//# else
  store_heads(head_at, load_rows(at));
//# end
}
