// The length of Adafactor's step on a parameter of `size` values: the learning rate, with SCALE times RMS(weights) but at least
// u.smallest, over RMS(update) where that is above 1. Does nothing while the halt flag is up.
//   FACTORED 1: from squares (R, 2), the sums along a matrix's rows.
//   FACTORED 0: from a vector's gradients and weights; updates moment2, the moving mean of the squared gradients, on the way.
//
// Order: 64 chains (element i in chain i % 64), then a tree. FIRST 0: goes on with the chains of the window before. LAST 0: leaves
// them for the next one.
//# uniforms count size:f32 smallest:f32
//# tensor control : read
//# if FACTORED
//# tensor squares : read
//# else
//# uniforms eps:f32
//# tensor gradients : read
//# tensor moment2 : read_write
//#   if SCALE
//# tensor weights : read
//#   end
//# end
//# if !(FIRST && LAST)
//# tensor begun : ${FIRST ? write : LAST ? read : read_write}
//# end
//# if LAST
//# tensor step : write
//# let SUM = vec2f
//# include tree
//# end

// The squares of an element's update and weight, or their sums over a row.
fn squares(i: u32) -> vec2f {
//# if FACTORED
  return vec2f(load_squares(2u * i), load_squares(2u * i + 1u));
//# else
  let g = load_gradients(i) * load_control(1u);
  let moment2 = (1.0 - live.freshShare) * load_moment2(i) + live.freshShare * (g * g + u.eps);
  store_moment2(i, moment2);
  let update = g * inverseSqrt(moment2);
//#   if SCALE
  let weight = load_weights(i);
//#   else
  let weight = 0.0;
//#   end
  return vec2f(update * update, weight * weight);
//# end
}

//# threads 64
fn kernel(group: u32, lane: u32) {
  if (group > 0u || load_control(0u) != 0.0) { return; }
//# if FIRST
  var chain = vec2f();
//# else
  var chain = vec2f(load_begun(2u * lane), load_begun(2u * lane + 1u));
//# end
  for (var i = lane; i < u.count; i += 64u) { chain += squares(i); }
//# if LAST
  let sum = tree(lane, chain) / u.size;
  if (lane > 0u) { return; }
  var step = live.learningRate / max(1.0, sqrt(sum.x));
//#   if SCALE
  step *= max(u.smallest, sqrt(sum.y));
//#   end
  store_step(0u, step);
//# else
  store_begun(2u * lane, chain.x);
  store_begun(2u * lane + 1u, chain.y);
//# end
}
