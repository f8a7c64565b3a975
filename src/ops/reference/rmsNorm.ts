import { floats, numberOption, type OpReference } from "./types.ts";

/** x (M, C), weight (C) -> x / sqrt(mean(x^2) + eps) * weight. */
export const rmsNorm: OpReference = {
  forward(inputs, options) {
    const [M, C] = inputs.x.shape;
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const out = new Float64Array(M * C);
    for (let m = 0; m < M; m++) {
      const rstd = inverseRms(x.subarray(m * C, (m + 1) * C), numberOption(options, "eps"));
      for (let c = 0; c < C; c++) out[m * C + c] = x[m * C + c] * rstd * weight[c];
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const [M, C] = inputs.x.shape;
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const dx = new Float64Array(M * C);
    const dWeight = new Float64Array(C);
    for (let m = 0; m < M; m++) {
      const row = x.subarray(m * C, (m + 1) * C); // (C)
      const d = dOut.subarray(m * C, (m + 1) * C); // (C)
      const rstd = inverseRms(row, numberOption(options, "eps"));
      let meanDX = 0; // of dOut * weight * xHat
      for (let c = 0; c < C; c++) {
        meanDX += d[c] * weight[c] * row[c] * rstd / C;
        dWeight[c] += d[c] * row[c] * rstd;
      }
      for (let c = 0; c < C; c++) dx[m * C + c] = rstd * (d[c] * weight[c] - row[c] * rstd * meanDX);
    }
    return { x: dx, weight: dWeight };
  },
};

function inverseRms(row: Float64Array, eps: number): number {
  const meanSquare = row.reduce((sum, value) => sum + value ** 2, 0) / row.length;
  return 1 / Math.sqrt(meanSquare + eps);
}
