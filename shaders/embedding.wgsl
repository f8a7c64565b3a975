// y[i] = table[ids[i]], for a window of rows of y and a window of the table's rows, vocab0 to vocab0 + vocab.
//   VEC 1: a thread copies four values; width is a multiple of 4.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms width vocab0 vocab
//# tensor ids : read u32
//# tensor table : read ${FORM}
//# tensor y : ${PART ? read_write : write} ${FORM}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let width = u.width / ${N}u;
  let i = group * 64u + lane;
  if (i >= live_rows() * width) { return; }
  let row = load_ids(i / width) - u.vocab0; // wraps to a large number below the window
  if (row < u.vocab) { ${STORE}_y(i, ${LOAD}_table(row * width + i % width)); }
}
