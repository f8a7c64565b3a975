import { floats, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/**
 * x (M, W), weight (HS), optional keyWeight (HS) -> (M, W): numHeads heads of each row become
 * x / sqrt(mean(x^2) + eps) * weight, the numKeyHeads behind them the same with keyWeight, the rest stays.
 */
export const headNorm: OpReference = {
  forward(inputs, options) {
    const x = floats(inputs, "x");
    const out = x.slice();
    for (const { at, weight, rstd } of heads(inputs, options)) {
      floats(inputs, weight).forEach((w, c) => out[at + c] = x[at + c] * rstd * w);
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const x = floats(inputs, "x");
    const dx = dOut.slice();
    const gradients: Record<string, Float64Array> = { x: dx };
    for (const name of ["weight", "keyWeight"]) {
      if (name in inputs) gradients[name] = new Float64Array(inputs[name].shape[0]);
    }
    for (const { at, weight, rstd } of heads(inputs, options)) {
      const w = floats(inputs, weight); // (HS)
      let meanDX = 0; // of dOut * weight * xHat
      for (let c = 0; c < w.length; c++) {
        const xHat = x[at + c] * rstd;
        meanDX += dOut[at + c] * w[c] * xHat / w.length;
        gradients[weight][c] += dOut[at + c] * xHat;
      }
      for (let c = 0; c < w.length; c++) {
        dx[at + c] = rstd * (dOut[at + c] * w[c] - x[at + c] * rstd * meanDX);
      }
    }
    return gradients;
  },
};

/** The heads that are normalised: where in x they begin, the name of their weight, 1 / root mean square. */
function* heads(inputs: Inputs, options: Options) {
  const x = floats(inputs, "x");
  const [M, W] = inputs.x.shape;
  const HS = inputs.weight.shape[0];
  const numHeads = numberOption(options, "numHeads");
  for (let m = 0; m < M; m++) {
    for (let head = 0; head < numHeads + numberOption(options, "numKeyHeads"); head++) {
      const at = m * W + head * HS;
      const squares = x.subarray(at, at + HS).reduce((sum, value) => sum + value ** 2, 0);
      const rstd = 1 / Math.sqrt(squares / HS + numberOption(options, "eps"));
      yield { at, weight: head < numHeads ? "weight" : "keyWeight", rstd };
    }
  }
}
