// Sums over rows, in two steps: a chain over each block of BLOCK rows, then a chain over the blocks. A lane has one column, or
// with VEC (width is a multiple of 4) four.
//   STEP blocks: PLAIN 1: partial (blocks, width) from dy (rows, width); NORM 1: scaled, of dy * normalised x.
//                GOES_ON 1: the rows are later ones of a block whose chain was begun.
//   STEP total:  out += the blocks' sums, in order.
//# let N = VEC ? 4 : 1
//# let T = VEC ? vec4f : f32
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms width
//# if STEP == blocks
//# tensor dy : read ${FORM}
//#   if NORM
//# tensor x : read ${FORM}
//# tensor stats : read
//# tensor scaled : ${GOES_ON ? read_write : write} ${FORM}
//#   end
//#   if PLAIN
//# tensor partial : ${GOES_ON ? read_write : write} ${FORM}
//#   end
//# else
//# tensor partial : read ${FORM}
//# tensor out : read_write ${FORM}
//# end

//# threads 64
fn kernel(group: u32, lane: u32) {
  let width = u.width / ${N}u;
  let across = (width + 63u) / 64u;
  let column = (group % across) * 64u + lane;
  if (column >= width) { return; }
//# if STEP == blocks
  let block = group / across;
  if (block * ${BLOCK}u >= live_rows()) { return; }
  let end = min((block + 1u) * ${BLOCK}u, live_rows());
  var sum = ${T}();
  var scaled_sum = ${T}();
//#   if GOES_ON && PLAIN
  sum = ${LOAD}_partial(column);
//#   end
//#   if GOES_ON && NORM
  scaled_sum = ${LOAD}_scaled(column);
//#   end
  for (var row = block * ${BLOCK}u; row < end; row++) {
    let g = ${LOAD}_dy(row * width + column);
    sum += g;
//#   if NORM
    let xhat = (${LOAD}_x(row * width + column) - load_stats(row * 2u)) * load_stats(row * 2u + 1u);
    scaled_sum = fma(g, xhat, scaled_sum);
//#   end
  }
//#   if PLAIN
  ${STORE}_partial(block * width + column, sum);
//#   end
//#   if NORM
  ${STORE}_scaled(block * width + column, scaled_sum);
//#   end
//# else
  if (group >= across) { return; }
  let blocks = (live_rows() + ${BLOCK - 1}u) / ${BLOCK}u;
  var sum = ${LOAD}_out(column);
  for (var block = 0u; block < blocks; block++) { sum += ${LOAD}_partial(block * width + column); }
  ${STORE}_out(column, sum);
//# end
}
