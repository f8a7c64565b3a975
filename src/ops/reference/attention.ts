import { dropoutScale } from "./dropout.ts";
import { floats, ids, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/**
 * Causal attention: qkv (B, T, (NH + 2 NK) HS), in a row all q heads, then all k heads, then all v heads ->
 * (B, T, NH HS). Query head h reads kv head floor(h / (NH / NK)). Where options.rate > 0, sampleIds (B): dropout on the
 * weights after the softmax; the element of a sample is (h * T + i) * T + j.
 */
export const attention: OpReference = {
  forward(inputs, options) {
    const { B, T, NH, HS } = sizes(inputs, options);
    const qkv = floats(inputs, "qkv");
    const out = new Float64Array(B * T * NH * HS);
    for (const query of queries(inputs, options)) {
      for (let j = 0; j <= query.i; j++) {
        const a = query.weights[j] * query.keep[j];
        for (let c = 0; c < HS; c++) out[query.out + c] += a * qkv[query.v(j) + c];
      }
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const { HS } = sizes(inputs, options);
    const qkv = floats(inputs, "qkv");
    const dQkv = new Float64Array(qkv.length);
    for (const { i, q, k, v, out, weights, keep } of queries(inputs, options)) {
      const dWeights = new Float64Array(i + 1);
      let weightedSum = 0; // of weights * dWeights: what the softmax's normalisation takes back
      for (let j = 0; j <= i; j++) {
        for (let c = 0; c < HS; c++) {
          dWeights[j] += keep[j] * dOut[out + c] * qkv[v(j) + c];
          dQkv[v(j) + c] += keep[j] * weights[j] * dOut[out + c];
        }
        weightedSum += weights[j] * dWeights[j];
      }
      for (let j = 0; j <= i; j++) {
        const dScore = weights[j] * (dWeights[j] - weightedSum) / Math.sqrt(HS);
        for (let c = 0; c < HS; c++) {
          dQkv[q + c] += dScore * qkv[k(j) + c];
          dQkv[k(j) + c] += dScore * qkv[q + c];
        }
      }
    }
    return { qkv: dQkv };
  },
};

function sizes(inputs: Inputs, options: Options) {
  const [B, T] = inputs.qkv.shape;
  const NH = numberOption(options, "numHeads");
  const NK = numberOption(options, "numKvHeads");
  const HS = numberOption(options, "headDim");
  return { B, T, NH, NK, HS };
}

/** One query of one head: where its vectors begin in qkv and in the output, and its weights on keys 0 to i. */
interface Query {
  readonly i: number;
  readonly q: number;
  readonly k: (j: number) => number;
  readonly v: (j: number) => number;
  readonly out: number;
  /** (i + 1) after the softmax, before dropout. */
  readonly weights: Float64Array;
  /** (i + 1) 0 where dropped, else 1 / (1 - rate). */
  readonly keep: Float64Array;
}

function* queries(inputs: Inputs, options: Options): Generator<Query> {
  const { B, T, NH, NK, HS } = sizes(inputs, options);
  const qkv = floats(inputs, "qkv");
  const width = (NH + 2 * NK) * HS;
  const drops = numberOption(options, "rate") > 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < NH; h++) {
      const kvHead = Math.floor(h / (NH / NK));
      const k = (j: number) => (b * T + j) * width + (NH + kvHead) * HS;
      const v = (j: number) => (b * T + j) * width + (NH + NK + kvHead) * HS;
      for (let i = 0; i < T; i++) {
        const q = (b * T + i) * width + h * HS;
        const scores = new Float64Array(i + 1);
        for (let j = 0; j <= i; j++) {
          for (let c = 0; c < HS; c++) scores[j] += qkv[q + c] * qkv[k(j) + c] / Math.sqrt(HS);
        }
        const keep = new Float64Array(i + 1).fill(1);
        if (drops) {
          const sample = ids(inputs, "sampleIds")[b];
          for (let j = 0; j <= i; j++) keep[j] = dropoutScale(options, sample, (h * T + i) * T + j);
        }
        yield { i, q, k, v, out: ((b * T + i) * NH + h) * HS, weights: softmax(scores), keep };
      }
    }
  }
}

function softmax(scores: Float64Array): Float64Array {
  const max = scores.reduce((a, b) => Math.max(a, b));
  const exps = scores.map((score) => Math.exp(score - max));
  const sum = exps.reduce((a, b) => a + b);
  return exps.map((value) => value / sum);
}
