// Rotary positions: in each head of a row's first `columns` columns, the first `turned` dimensions are turned in pairs by the
// angles of the row's place, (a, b) -> (a cos - b sin, b cos + a sin); everything else is copied.
//   INTERLEAVED 0: pair k is (k, k + turned / 2); 1: it is (2k, 2k + 1).
//   u.direction 1.0, or -1.0: back (the backward).
// A row of the table has the cosines of its pairs, then their sines. It comes in windows of rows: place0 to place0 + table_rows;
// PART 1: not the first of them.
//   VEC 1: a thread has four values; a head is whole fours, and so is what of it is turned alike.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# let FOURS_OF_PAIRS = VEC && !INTERLEAVED
//# include rows
//# uniforms width columns head_dim turned place0 table_rows direction:f32
//# tensor x : read ${FORM}
//# tensor places : read u32
//# tensor table : read ${FOURS_OF_PAIRS ? vec4 : f32}
//# tensor y : ${ACC || PART ? read_write : write} ${FORM}

// x, element i, which is dimension d of its head, turned by the angles of a place. With VEC, i and d count fours.
fn turn(x: ${T}, i: u32, d: u32, place: u32) -> ${T} {
//# if VEC && INTERLEAVED
  let cosine = place * u.turned + 2u * d;
  let sine = cosine + u.turned / 2u;
  let cosines = vec2f(load_table(cosine), load_table(cosine + 1u));
  let sines = u.direction * vec2f(load_table(sine), load_table(sine + 1u));
  return x * cosines.xxyy + x.yxwz * vec4f(-sines.x, sines.x, -sines.y, sines.y);
//# else
  let half = u.turned / ${2 * N}u;
//#   if INTERLEAVED
  let k = d / 2u;
  let is_first = d % 2u == 0u;
  let other = select(i - 1u, i + 1u, is_first);
//#   else
  let k = d % half;
  let is_first = d < half;
  let other = select(i - half, i + half, is_first);
//#   end
  let cosine = place * 2u * half + k;
  let sines = select(u.direction, -u.direction, is_first) * ${FOURS_OF_PAIRS ? load4 : load}_table(cosine + half);
  return x * ${FOURS_OF_PAIRS ? load4 : load}_table(cosine) + ${LOAD}_x(other) * sines;
//# end
}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  let width = u.width / ${N}u;
  let row = i / width;
  if (row >= live_rows()) { return; }
  let place = load_places(row) - u.place0; // wraps below the window
  if (place >= u.table_rows) { return; }
  let column = i % width;
  let d = column % (u.head_dim / ${N}u);
  var value = ${LOAD}_x(i);
  if (column < u.columns / ${N}u && d < u.turned / ${N}u) { value = turn(value, i, d, place); }
//# if ACC
  value += ${LOAD}_y(i);
//# end
  ${STORE}_y(i, value);
}
