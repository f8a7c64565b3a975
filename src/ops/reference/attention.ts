import { dropoutScale } from "./dropout.ts";
import { floats, ids, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/**
 * Attention. Either qkv (B, T, (NH + 2 NK) HS), in a row all q heads, then all k heads, then all v heads; or
 * q (B, T, NH HS) and kv (B, S, 2 NK HS) -> (B, T, NH HS). Query head h reads kv head floor(h / (NH / NK)).
 *
 * spans (B, T, 2): the keys that a query sees, from and to; options.window > 0: only the last of them, up to the query's
 * own column. Scores are q k options.scale plus a bias: -slopes[h] (i - j) where there are slopes (NH), and
 * table[buckets[i - j], h] where there is a table (buckets, NH); buckets (2 reach + 1), the distance held within the
 * reach. Where options.rate > 0, sampleIds (B): dropout on the weights after the softmax; the element of a sample is
 * (h * T + i) * S + j.
 */
export const attention: OpReference = {
  forward(inputs, options) {
    const { B, T, NH, HS } = sizes(inputs, options);
    const { v } = heads(inputs, options);
    const out = new Float64Array(B * T * NH * HS);
    for (const query of queries(inputs, options)) {
      for (let j = query.from; j < query.to; j++) {
        const a = query.weights[j] * query.keep[j];
        for (let c = 0; c < HS; c++) out[query.out + c] += a * v.values[query.v(j) + c];
      }
    }
    return out;
  },

  backward(inputs, dOut, options) {
    const { HS } = sizes(inputs, options);
    const { q: Q, k: K, v: V } = heads(inputs, options);
    const scale = numberOption(options, "scale");
    const gradients: Record<string, Float64Array> = {};
    for (const { name, values } of [Q, K, V]) gradients[name] ??= new Float64Array(values.length);
    const [dQ, dK, dV] = [Q, K, V].map(({ name }) => gradients[name]);
    if (inputs.table !== undefined) gradients.table = new Float64Array(inputs.table.values.length);
    for (const { from, to, q, k, v, out, weights, keep, biasAt } of queries(inputs, options)) {
      const dWeights = new Float64Array(to);
      let weightedSum = 0; // of weights * dWeights: what the softmax's normalisation takes back
      for (let j = from; j < to; j++) {
        for (let c = 0; c < HS; c++) {
          dWeights[j] += keep[j] * dOut[out + c] * V.values[v(j) + c];
          dV[v(j) + c] += keep[j] * weights[j] * dOut[out + c];
        }
        weightedSum += weights[j] * dWeights[j];
      }
      for (let j = from; j < to; j++) {
        const dScore = weights[j] * (dWeights[j] - weightedSum);
        if (gradients.table !== undefined) gradients.table[biasAt(j)] += dScore;
        for (let c = 0; c < HS; c++) {
          dQ[q + c] += dScore * scale * K.values[k(j) + c];
          dK[k(j) + c] += dScore * scale * Q.values[q + c];
        }
      }
    }
    return gradients;
  },
};

function sizes(inputs: Inputs, options: Options) {
  const [B, T] = (inputs.qkv ?? inputs.q).shape;
  const S = inputs.kv?.shape[1] ?? T;
  const NH = numberOption(options, "numHeads");
  const NK = numberOption(options, "numKvHeads");
  const HS = numberOption(options, "headDim");
  return { B, T, S, NH, NK, HS };
}

/** Where the first head of a row lies. */
interface Heads {
  readonly name: string;
  readonly values: Float64Array;
  readonly width: number;
  readonly offset: number;
}

function heads(inputs: Inputs, options: Options): { q: Heads; k: Heads; v: Heads } {
  const { NH, NK, HS } = sizes(inputs, options);
  const of = (name: string, offset: number) => {
    return { name, values: floats(inputs, name), width: inputs[name].shape[2], offset: offset * HS };
  };
  return inputs.qkv !== undefined
    ? { q: of("qkv", 0), k: of("qkv", NH), v: of("qkv", NH + NK) }
    : { q: of("q", 0), k: of("kv", 0), v: of("kv", NK) };
}

/** One query of one head: where its vectors begin in their tensors, and its weights on the keys that it sees. */
interface Query {
  readonly from: number;
  readonly to: number;
  readonly q: number;
  readonly k: (j: number) => number;
  readonly v: (j: number) => number;
  readonly out: number;
  /** Where the bias of key j lies in the table. */
  readonly biasAt: (j: number) => number;
  /** (S) after the softmax, before dropout. */
  readonly weights: Float64Array;
  /** (S) 0 where dropped, else 1 / (1 - rate). */
  readonly keep: Float64Array;
}

function* queries(inputs: Inputs, options: Options): Generator<Query> {
  const { B, T, S, NH, NK, HS } = sizes(inputs, options);
  const { q: Q, k: K, v: V } = heads(inputs, options);
  const [scale, window] = [numberOption(options, "scale"), numberOption(options, "window")];
  const spans = ids(inputs, "spans");
  const drops = numberOption(options, "rate") > 0;
  const reach = inputs.buckets === undefined ? 0 : (inputs.buckets.values.length - 1) / 2;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < NH; h++) {
      const kvHead = Math.floor(h / (NH / NK));
      const at = (tensor: Heads, row: number, head: number) => row * tensor.width + tensor.offset + head * HS;
      const k = (j: number) => at(K, b * S + j, kvHead);
      const v = (j: number) => at(V, b * S + j, kvHead);
      for (let i = 0; i < T; i++) {
        const q = at(Q, b * T + i, h);
        const [first, to] = spans.subarray(2 * (b * T + i), 2 * (b * T + i) + 2);
        const from = window > 0 ? Math.max(first, i + 1 - window) : first;
        const biasAt = (j: number) => {
          return ids(inputs, "buckets")[Math.min(Math.max(i - j, -reach), reach) + reach] * NH + h;
        };
        const scores = new Float64Array(S).fill(-Infinity);
        for (let j = from; j < to; j++) {
          scores[j] = 0;
          for (let c = 0; c < HS; c++) scores[j] += Q.values[q + c] * K.values[k(j) + c] * scale;
          if (inputs.slopes !== undefined) scores[j] -= floats(inputs, "slopes")[h] * (i - j);
          if (inputs.table !== undefined) scores[j] += floats(inputs, "table")[biasAt(j)];
        }
        const keep = new Float64Array(S).fill(1);
        if (drops) {
          const sample = ids(inputs, "sampleIds")[b];
          for (let j = from; j < to; j++) keep[j] = dropoutScale(options, sample, (h * T + i) * S + j);
        }
        yield { from, to, q, k, v, out: ((b * T + i) * NH + h) * HS, biasAt, weights: softmax(scores), keep };
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
