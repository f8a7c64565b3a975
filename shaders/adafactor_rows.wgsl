// Sums along the rows of a matrix (R, C) for Adafactor, for the rows of a window. Does nothing while the halt flag is up.
//   SQUARES 0: row_moment (R), the moving mean of the squared gradients.
//   SQUARES 1: squares (R, 2), the sums of the squared update and, with SCALE, of the squared weights.
//
// LANES, ROWS, VEC: as in row_sums.
//# let SUMS = SQUARES && SCALE ? 2 : 1
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# let LOAD = VEC ? load4 : load
//# include rows
//# uniforms width
//# tensor control : read
//# tensor gradients : read ${FORM}
//# if SQUARES
//# tensor row_moment : read
//# tensor column_scale : read ${FORM}
//# tensor mean : read
//# tensor squares : write
//#   if SCALE
//# tensor weights : read ${FORM}
//#   end
//# else
//# uniforms eps:f32
//# tensor row_moment : read_write
//# end

// Column c of a row, or with VEC columns 4 c to 4 c + 3.
fn at(row: u32, c: u32) -> u32 { return row * (u.width / ${VEC ? 4 : 1}u) + c; }

fn term0(row: u32, c: u32, mean: f32, scale: f32) -> ${T} {
//# if SQUARES
  let value = ${LOAD}_gradients(at(row, c)) * scale * ${LOAD}_column_scale(c);
//# else
  let value = ${LOAD}_gradients(at(row, c)) * scale;
//# end
  return value * value;
}

//# if SQUARES && SCALE
fn term1(row: u32, c: u32, mean: f32, scale: f32) -> ${T} {
  let value = ${LOAD}_weights(at(row, c));
  return value * value;
}
//# end

//# include row_sums

//# threads ${LANES * ROWS}
fn kernel(group: u32, thread: u32) {
  if (load_control(0u) != 0.0) { return; }
  let lane = thread % ${LANES}u;
  let wanted = group * ${ROWS}u + thread / ${LANES}u;
  // Threads beyond the last row repeat it, so that all reach the barriers; they store nothing.
  let row = min(wanted, u.rows - 1u);
//# if SQUARES
  let scale = load_control(1u) * inverseSqrt(load_row_moment(row) / load_mean(0u));
  let update = sum0(row, lane, thread, 0.0, scale);
//#   if SCALE
  let weights = sum1(row, lane, thread, 0.0, 0.0);
//#   else
  let weights = 0.0;
//#   end
  if (wanted >= u.rows || lane > 0u) { return; }
  store_squares(row * 2u, update);
  store_squares(row * 2u + 1u, weights);
//# else
  let fresh = sum0(row, lane, thread, 0.0, load_control(1u)) / f32(u.width) + u.eps;
  if (wanted >= u.rows || lane > 0u) { return; }
  store_row_moment(row, (1.0 - live.freshShare) * load_row_moment(row) + live.freshShare * fresh);
//# end
}
