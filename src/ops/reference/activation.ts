import { ACTIVATIONS, type Curve as CurveName } from "../../config/axes.ts";
import { erf } from "./erf.ts";
import { floats, type OpReference, type Options } from "./types.ts";

/** A function of one number, and its derivative. */
interface Curve {
  value(x: number): number;
  slope(x: number): number;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const geluInner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const normalCdf = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2));
const normalDensity = (x: number) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

const gelu: Curve = {
  value: (x) => 0.5 * x * (1 + Math.tanh(geluInner(x))),
  slope(x) {
    const tanh = Math.tanh(geluInner(x));
    const innerSlope = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2);
    return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh ** 2) * innerSlope;
  },
};
const geluErf: Curve = {
  value: (x) => x * normalCdf(x),
  slope: (x) => normalCdf(x) + x * normalDensity(x),
};
const relu: Curve = {
  value: (x) => Math.max(x, 0),
  slope: (x) => x > 0 ? 1 : 0,
};
const silu: Curve = {
  value: (x) => x * sigmoid(x),
  slope: (x) => sigmoid(x) * (1 + x * sigmoid(-x)),
};

const curves: Readonly<Record<CurveName, Curve>> = { gelu, geluErf, relu, silu };

/**
 * By options.kind: x (M, F) -> act(x) (M, F) or, gated, x (M, 2F) -> x1 * act(x2) (M, F), where the gate x2 is the second
 * half of the row.
 */
export const activation: OpReference = {
  forward(inputs, options) {
    const x = floats(inputs, "x");
    const { curve, isGated } = findCurve(options);
    if (!isGated) return x.map(curve.value);
    const F = inputs.x.shape[1] / 2;
    const out = new Float64Array(x.length / 2); // (M, F)
    for (let i = 0; i < out.length; i++) {
      const [at, gate] = halves(i, F);
      out[i] = x[at] * curve.value(x[gate]);
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const x = floats(inputs, "x");
    const { curve, isGated } = findCurve(options);
    if (!isGated) return { x: dOut.map((d, i) => d * curve.slope(x[i])) };
    const F = inputs.x.shape[1] / 2;
    const dx = new Float64Array(x.length); // (M, 2F)
    dOut.forEach((d, i) => {
      const [at, gate] = halves(i, F);
      dx[at] = d * curve.value(x[gate]);
      dx[gate] = d * x[at] * curve.slope(x[gate]);
    });
    return { x: dx };
  },
};

/** Where element i of (M, F) finds its value and its gate in (M, 2F). */
function halves(i: number, F: number): [at: number, gate: number] {
  const at = Math.floor(i / F) * 2 * F + i % F;
  return [at, at + F];
}

function findCurve({ kind }: Options): { curve: Curve; isGated: boolean } {
  const found = Object.entries(ACTIVATIONS).find(([name]) => name === kind);
  if (!found) throw new Error(`Option kind is ${kind}, expected an activation`);
  const [, { curve, gated }] = found;
  return { curve: curves[curve], isGated: gated };
}
