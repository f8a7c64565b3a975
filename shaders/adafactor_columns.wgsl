// Sums down the columns of a matrix (R, C) for Adafactor, in three steps. Does nothing while the halt flag is up.
//   STEP blocks: partial (blocks, C): the squared gradients of blocks of BLOCK rows, for the rows of a window. GOES_ON 1: they
//                are later rows of a block that was begun.
//   STEP total:  sums (C) += the blocks' sums; FIRST 1: = them.
//   STEP moment: column_moment (C), the moving mean of the squared gradients; column_scale (C), 1 over its root; and its own mean,
//                which is that of row_moment, too.
//
// Order: down a column a chain over each block, then a chain over the blocks; for the mean 64 chains (column c in chain c % 64 or,
// with VEC, four for each lane), then a tree. VEC 1: the width is a multiple of 4.
//# let N = VEC ? 4 : 1
//# let T = VEC ? vec4f : f32
//# let FORM = VEC ? vec4 : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# uniforms width
//# tensor control : read
//# if STEP == blocks
//# include rows
//# tensor gradients : read ${FORM}
//# tensor partial : ${GOES_ON ? read_write : write} ${FORM}
//# end
//# if STEP == total
//# uniforms blocks
//# tensor partial : read ${FORM}
//# tensor sums : ${FIRST ? write : read_write} ${FORM}
//# end
//# if STEP == moment
//# uniforms height:f32 eps:f32
//# tensor sums : read ${FORM}
//# tensor column_moment : read_write ${FORM}
//# tensor column_scale : write ${FORM}
//# tensor mean : write
//# let SUM = T
//# include tree
//# end

//# threads 64
fn kernel(group: u32, lane: u32) {
  // In a warm-up, where nothing is in use, the share is 0.
  if (load_control(0u) != 0.0 || live.freshShare == 0.0) { return; }
  let width = u.width / ${N}u;
//# if STEP == moment
  if (group > 0u) { return; }
  var chain = ${T}();
  for (var column = lane; column < width; column += 64u) {
    let fresh = ${LOAD}_sums(column) / u.height + u.eps;
    let moment = (1.0 - live.freshShare) * ${LOAD}_column_moment(column) + live.freshShare * fresh;
    ${STORE}_column_moment(column, moment);
    ${STORE}_column_scale(column, inverseSqrt(moment));
    chain += moment;
  }
  let sum = tree(lane, chain);
//#   if VEC
  if (lane == 0u) { store_mean(0u, ((sum.x + sum.z) + (sum.y + sum.w)) / f32(u.width)); }
//#   else
  if (lane == 0u) { store_mean(0u, sum / f32(u.width)); }
//#   end
//# else
  let across = (width + 63u) / 64u;
  let column = (group % across) * 64u + lane;
  if (column >= width) { return; }
//#   if STEP == blocks
  let block = group / across;
  if (block * ${BLOCK}u >= u.rows) { return; }
  let end = min((block + 1u) * ${BLOCK}u, u.rows);
//#     if GOES_ON
  var sum = ${LOAD}_partial(column);
//#     else
  var sum = ${T}();
//#     end
  for (var row = block * ${BLOCK}u; row < end; row++) {
    let g = ${LOAD}_gradients(row * width + column) * load_control(1u);
    sum = fma(g, g, sum);
  }
  ${STORE}_partial(block * width + column, sum);
//#   else
  if (group >= across) { return; }
//#     if FIRST
  var sum = ${T}();
//#     else
  var sum = ${LOAD}_sums(column);
//#     end
  for (var block = 0u; block < u.blocks; block++) { sum += ${LOAD}_partial(block * width + column); }
  ${STORE}_sums(column, sum);
//#   end
//# end
}
