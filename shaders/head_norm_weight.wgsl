// What each row adds to the gradient of a run's weight (head_norm.wgsl): out (rows, width), the sum over the run's heads, first to
// end, ascending, of dy * x * scale. A row has `normed` scales.
//   VEC 1: a thread has four columns.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms heads width first end normed
//# tensor dy : read ${FORM}
//# tensor x : read ${FORM}
//# tensor scales : read
//# tensor out : write ${FORM}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  let width = u.width / ${N}u;
  let row = i / width;
  if (row >= live_rows()) { return; }
  var sum = ${T}();
  for (var head = u.first; head < u.end; head++) {
    let at = (row * u.heads + head) * width + i % width;
    sum = fma(${LOAD}_dy(at), ${LOAD}_x(at) * load_scales(row * u.normed + head), sum);
  }
  ${STORE}_out(i, sum);
}
