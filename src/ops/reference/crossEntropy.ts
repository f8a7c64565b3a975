import { floats, ids, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/** A target without a loss. */
export const IGNORE = -100;

/**
 * Head and loss in one: x (M, C), weight (V, C), targets (M) -> one number, the sum over the targets that are not IGNORE
 * of lse - logit[target] + zLoss * lse^2, with logits x W^T and lse their logsumexp in nats. With softCap above 0 logits
 * are softCap * tanh(x W^T / softCap).
 */
export const crossEntropy: OpReference = {
  forward(inputs, options) {
    const zLoss = numberOption(options, "zLoss");
    let loss = 0;
    for (const { target, logits, lse } of keptRows(inputs, options)) {
      loss += lse - logits[target] + zLoss * lse ** 2;
    }
    return Float64Array.of(loss);
  },

  backward(inputs, dOut, options) {
    const zLoss = numberOption(options, "zLoss");
    const cap = numberOption(options, "softCap");
    const [V, C] = inputs.weight.shape;
    const x = floats(inputs, "x");
    const weight = floats(inputs, "weight");
    const dx = new Float64Array(x.length); // (M, C)
    const dWeight = new Float64Array(weight.length); // (V, C)
    for (const { m, target, logits, lse } of keptRows(inputs, options)) {
      for (let v = 0; v < V; v++) {
        const probability = Math.exp(logits[v] - lse);
        const capSlope = cap > 0 ? 1 - (logits[v] / cap) ** 2 : 1;
        const dLogit = dOut[0] * capSlope * (probability * (1 + 2 * zLoss * lse) - (v === target ? 1 : 0));
        for (let c = 0; c < C; c++) {
          dx[m * C + c] += dLogit * weight[v * C + c];
          dWeight[v * C + c] += dLogit * x[m * C + c];
        }
      }
    }
    return { x: dx, weight: dWeight };
  },
};

/** The rows that have a loss. */
function* keptRows(inputs: Inputs, options: Options) {
  const cap = numberOption(options, "softCap");
  const [M, C] = inputs.x.shape;
  const V = inputs.weight.shape[0];
  const x = floats(inputs, "x");
  const weight = floats(inputs, "weight");
  const targets = ids(inputs, "targets"); // (M)
  for (let m = 0; m < M; m++) {
    const target = targets[m];
    if (target === IGNORE) continue;
    const logits = new Float64Array(V);
    for (let v = 0; v < V; v++) {
      for (let c = 0; c < C; c++) logits[v] += x[m * C + c] * weight[v * C + c];
      if (cap > 0) logits[v] = cap * Math.tanh(logits[v] / cap);
    }
    yield { m, target, logits, lse: logSumExp(logits) };
  }
}

function logSumExp(logits: Float64Array): number {
  const max = logits.reduce((a, b) => Math.max(a, b));
  return max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
}
