import { floats, numberOption, type OpReference } from "./types.ts";

/** x (M, C), weight (C), optional bias (C) -> (x - mean) / sqrt(var + eps) * weight + bias, var with 1/C. */
export const layerNorm: OpReference = {
  forward(inputs, options) {
    const [M, C] = inputs.x.shape;
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const bias = "bias" in inputs ? floats(inputs, "bias") : new Float64Array(C);
    const out = new Float64Array(M * C);
    for (let m = 0; m < M; m++) {
      const { xHat } = normalizeRow(x.subarray(m * C, (m + 1) * C), numberOption(options, "eps"));
      for (let c = 0; c < C; c++) out[m * C + c] = xHat[c] * weight[c] + bias[c];
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const [M, C] = inputs.x.shape;
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const dx = new Float64Array(M * C);
    const dWeight = new Float64Array(C);
    const dBias = new Float64Array(C);
    for (let m = 0; m < M; m++) {
      const { xHat, rstd } = normalizeRow(x.subarray(m * C, (m + 1) * C), numberOption(options, "eps"));
      const d = dOut.subarray(m * C, (m + 1) * C); // (C)
      let meanD = 0; // of dOut * weight
      let meanDX = 0; // of dOut * weight * xHat
      for (let c = 0; c < C; c++) {
        meanD += d[c] * weight[c] / C;
        meanDX += d[c] * weight[c] * xHat[c] / C;
        dWeight[c] += d[c] * xHat[c];
        dBias[c] += d[c];
      }
      for (let c = 0; c < C; c++) dx[m * C + c] = rstd * (d[c] * weight[c] - meanD - xHat[c] * meanDX);
    }
    const gradients: Record<string, Float64Array> = { x: dx, weight: dWeight };
    if ("bias" in inputs) gradients.bias = dBias;
    return gradients;
  },
};

/** A row (C) with mean 0 and variance 1, and the factor that made it so. */
function normalizeRow(row: Float64Array, eps: number): { xHat: Float64Array; rstd: number } {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
  const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
  const rstd = 1 / Math.sqrt(variance + eps);
  return { xHat: row.map((value) => (value - mean) * rstd), rstd };
}
