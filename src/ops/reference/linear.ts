import { floats, type OpReference } from "./types.ts";

/** x (M, K), weight (N, K), optional bias (N) -> x W^T + b (M, N). */
export const linear: OpReference = {
  forward(inputs) {
    const [M, K] = inputs.x.shape;
    const N = inputs.weight.shape[0];
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const bias = "bias" in inputs ? floats(inputs, "bias") : new Float64Array(N);
    const out = new Float64Array(M * N);
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = bias[n];
        for (let k = 0; k < K; k++) sum += x[m * K + k] * weight[n * K + k];
        out[m * N + n] = sum;
      }
    }
    return out;
  },

  backward(inputs, dOut) {
    const [M, K] = inputs.x.shape;
    const N = inputs.weight.shape[0];
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const dx = new Float64Array(M * K); // dOut W
    const dWeight = new Float64Array(N * K); // dOut^T x
    const dBias = new Float64Array(N); // column sums of dOut
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        const d = dOut[m * N + n];
        dBias[n] += d;
        for (let k = 0; k < K; k++) {
          dx[m * K + k] += d * weight[n * K + k];
          dWeight[n * K + k] += d * x[m * K + k];
        }
      }
    }
    const gradients: Record<string, Float64Array> = { x: dx, weight: dWeight };
    if ("bias" in inputs) gradients.bias = dBias;
    return gradients;
  },
};
