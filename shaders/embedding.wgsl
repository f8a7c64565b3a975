// y[i] = table[ids[i]], for a window of rows of y and a window of the table's rows, vocab0 to vocab0 + vocab.
//# include rows
//# uniforms width vocab0 vocab
//# tensor ids : read u32
//# tensor table : read
//# tensor y : ${PART ? read_write : write}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i >= live_rows() * u.width) { return; }
  let row = load_ids(i / u.width) - u.vocab0; // wraps to a large number below the window
  if (row < u.vocab) { store_y(i, load_table(row * u.width + i % u.width)); }
}
