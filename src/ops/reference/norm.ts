import { floats, numberOption, type OpReference } from "./types.ts";

/** x (M, C), weight (C), optional bias (C) -> (x - mean) / sqrt(var + eps) * weight + bias, var with 1/C. */
export const layerNorm: OpReference = norm({ centred: true });

/** x (M, C), weight (C) -> x / sqrt(mean(x^2) + eps) * weight: a layer norm that takes the mean for 0. */
export const rmsNorm: OpReference = norm({ centred: false });

function norm({ centred }: { readonly centred: boolean }): OpReference {
  return {
    forward(inputs, options) {
      const [M, C] = inputs.x.shape;
      const x = floats(inputs, "x");
      const weight = floats(inputs, "weight");
      const bias = "bias" in inputs ? floats(inputs, "bias") : new Float64Array(C);
      const out = new Float64Array(M * C);
      for (let m = 0; m < M; m++) {
        const { xHat } = normalize(x.subarray(m * C, (m + 1) * C), centred, numberOption(options, "eps"));
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
        const row = x.subarray(m * C, (m + 1) * C); // (C)
        const { xHat, scale } = normalize(row, centred, numberOption(options, "eps"));
        const d = dOut.subarray(m * C, (m + 1) * C); // (C)
        let meanD = 0; // of dOut * weight
        let meanDX = 0; // of dOut * weight * xHat
        for (let c = 0; c < C; c++) {
          if (centred) meanD += d[c] * weight[c] / C;
          meanDX += d[c] * weight[c] * xHat[c] / C;
          dWeight[c] += d[c] * xHat[c];
          dBias[c] += d[c];
        }
        for (let c = 0; c < C; c++) dx[m * C + c] = scale * (d[c] * weight[c] - meanD - xHat[c] * meanDX);
      }
      const gradients: Record<string, Float64Array> = { x: dx, weight: dWeight };
      if ("bias" in inputs) gradients.bias = dBias;
      return gradients;
    },
  };
}

/** A row (C) whose squares have the mean 1, and whose values, if centred, have the mean 0; and the factor that made it so. */
function normalize(row: Float64Array, centred: boolean, eps: number) {
  const mean = centred ? row.reduce((sum, value) => sum + value, 0) / row.length : 0;
  const meanSquare = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
  const scale = 1 / Math.sqrt(meanSquare + eps);
  return { xHat: row.map((value) => (value - mean) * scale), scale };
}
