// Activations over (rows, width): y = act(x), or gated: y = x1 * act(x2) with [x1, x2] a row of x.
//   KIND gelu (tanh form), geluErf, relu, silu. GATED 1: x has 2 * width columns, the gate is the second half.
//   BACKWARD 1: dx from dy and x. VEC 1: a thread computes four values; not where GATED, since halves need not be whole fours.
//# let N = VEC ? 4 : 1
//# let FORM = VEC ? vec4 : f32
//# let T = VEC ? vec4f : f32
//# let LOAD = VEC ? load4 : load
//# let STORE = VEC ? store4 : store
//# include rows
//# uniforms width
//# tensor x : read ${FORM}
//# if BACKWARD
//# tensor dy : read ${FORM}
//# tensor dx : ${ACC ? read_write : write} ${FORM}
//# else
//# tensor y : write ${FORM}
//# end

//# if KIND == geluErf
// erf as a rational function on [-4, 4], beyond which it is 1 in f32.
fn erf(value: ${T}) -> ${T} {
  let x = clamp(value, ${T}(-4.0), ${T}(4.0));
  let s = x * x;
  var p = -2.72614225801306e-10 * s + 2.77068142495902e-08;
  p = p * s - 2.10102402082508e-06;
  p = p * s - 5.69250639462346e-05;
  p = p * s - 7.34990630326855e-04;
  p = p * s - 2.95459980854025e-03;
  p = p * s - 1.60960333262415e-02;
  var q = -1.45660718464996e-05 * s - 2.13374055278905e-04;
  q = q * s - 1.68282697438203e-03;
  q = q * s - 7.37332916720468e-03;
  q = q * s - 1.42647390514189e-02;
  return x * p / q;
}
//# end

struct Activated { value: ${T}, slope: ${T} }

fn activate(x: ${T}) -> Activated {
//# if KIND == gelu
  let cubic = 0.044715 * x * x;
  // tanh by way of exp, which every driver computes well; beyond 10 it is 1 in f32.
  let z = clamp(0.7978845608028654 * x * (1.0 + cubic), ${T}(-10.0), ${T}(10.0));
  let t = 1.0 - 2.0 / (exp(2.0 * z) + 1.0);
  let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608028654 * (1.0 + 3.0 * cubic);
  return Activated(0.5 * x * (1.0 + t), slope);
//# end
//# if KIND == geluErf
  let phi = 0.5 * (1.0 + erf(x * 0.7071067811865476));
  return Activated(x * phi, phi + x * 0.3989422804014327 * exp(-0.5 * x * x));
//# end
//# if KIND == relu
  return Activated(max(x, ${T}(0.0)), select(${T}(0.0), ${T}(1.0), x > ${T}(0.0)));
//# end
//# if KIND == silu
  let s = 1.0 / (1.0 + exp(-x));
  return Activated(x * s, s * (1.0 + x * (1.0 - s)));
//# end
}

//# threads 64
fn kernel(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i * ${N}u >= live_rows() * u.width) { return; }
//# if GATED
  let a = (i / u.width) * u.width + i; // column i % width of a row of 2 * width
  let b = a + u.width;
  let x1 = load_x(a);
  let gate = activate(load_x(b));
//#   if BACKWARD
  let g = load_dy(i);
//#     if ACC
  store_dx(a, load_dx(a) + g * gate.value);
  store_dx(b, load_dx(b) + g * x1 * gate.slope);
//#     else
  store_dx(a, g * gate.value);
  store_dx(b, g * x1 * gate.slope);
//#     end
//#   else
  store_y(i, x1 * gate.value);
//#   end
//# else
  let y = activate(${LOAD}_x(i));
//#   if BACKWARD
  let g = ${LOAD}_dy(i) * y.slope;
//#     if ACC
  ${STORE}_dx(i, ${LOAD}_dx(i) + g);
//#     else
  ${STORE}_dx(i, g);
//#     end
//#   else
  ${STORE}_y(i, y.value);
//#   end
//# end
}
