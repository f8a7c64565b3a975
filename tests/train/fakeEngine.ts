import { type Batch, IGNORE } from "../../src/data/batch.ts";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { decays, modelParameters } from "../../src/model/parameters.ts";
import { checksumOf, hashBytes } from "../../src/net/link/laneHash.ts";
import { Stream, uniform } from "../../src/random.ts";
import type { Engine, ParameterInfo, StateKind, StepResult, TensorInfo } from "../../src/engine/engine.ts";

export interface FakeOptions {
  readonly microBatchSize: number;
  readonly zLoss?: number;
  readonly adapter?: string;
  readonly parameters?: readonly ParameterInfo[];
  /** Makes the loss of a micro-batch NaN. */
  readonly isPoisoned?: (micro: Batch, step: number) => boolean;
  /** Called as a micro-batch comes, before its work. */
  readonly onAccumulate?: (micro: Batch, step: number, signal?: AbortSignal) => void | Promise<void>;
  readonly onEvaluate?: (signal?: AbortSignal) => void | Promise<void>;
  /** Changes a sum as it is read. (sumLength) */
  readonly onSum?: (sum: Float32Array) => void;
  /** Called as a tensor is asked for. */
  readonly onRead?: () => void | Promise<void>;
}

/** An engine whose weights can be looked at. */
export interface FakeEngine extends Engine {
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** At the end of a sum: loss, z-loss, number of targets, and once it is read a hash of the weights. */
const SUMS = 4;

/** The sum over a power of two of virtual workers. */
interface Subtree {
  readonly workers: number;
  readonly sum: Float32Array; // gradients, then SUMS
}

type Values = Map<string, Float32Array>;

/**
 * A bigram model on the CPU that behaves as an engine must: logits = (tok_emb[x] + pos_emb[t]) tok_emb^T, trained by
 * AdamW in float32. All other parameters are there and only decay. As dropout would, a row's gradients depend on step and
 * sample id.
 */
export function fakeEngine(spec: ModelSpec, options: FakeOptions): FakeEngine {
  const parameters = options.parameters ??
    modelParameters(spec).map(({ name, shape }) => ({ name, shape, decays: decays(shape) }));
  const C = spec.modelDim;
  const V = spec.vocabSize;
  const zeros = (tensors: readonly TensorInfo[] = parameters): Values =>
    new Map(tensors.map(({ name, shape }) => [name, new Float32Array(sizeOf(shape))]));
  const optimizerState = parameters.flatMap(({ name, shape }) => [
    { name: `${name}.moment1`, shape },
    { name: `${name}.moment2`, shape },
  ]);
  const state: Record<StateKind, Values> = { weights: zeros(), optimizer: zeros(optimizerState) };
  const sumLength = [...zeros().values()].reduce((total, { length }) => total + length, SUMS);
  let worker = new Float32Array(sumLength); // of the virtual worker at work
  let subtrees: Subtree[] = []; // whole ones, from left to right
  let results: StepResult[] = [];
  let isHalted = false;

  const get = (values: Values, name: string): Float32Array => {
    const found = values.get(name);
    if (found === undefined) throw new Error(`no parameter ${name}`);
    return found;
  };

  /** The gradients in a sum, by parameter. */
  function gradientsIn(sum: Float32Array): Values {
    let at = 0;
    return new Map(parameters.map(({ name, shape }) => [name, sum.subarray(at, at += sizeOf(shape))]));
  }

  /** As an engine's: an integer below 2^24. */
  const hash = () =>
    checksumOf(hashBytes(new Uint8Array(get(state.weights, "tok_emb").slice().buffer)), 0) >>> 8;

  /** The sum over all workers that have ended. */
  const total = () =>
    subtrees.length === 0
      ? new Float32Array(sumLength)
      : subtrees.map(({ sum }) => sum).reduceRight((right, left) => add(left, right));

  function forward(input: number, t: number) {
    const embedding = get(state.weights, "tok_emb"); // (V, C)
    const positions = get(state.weights, "pos_emb"); // (seqLen, C)
    const hidden = Array.from({ length: C }, (_, c) => embedding[input * C + c] + positions[t * C + c]);
    const logits = Array.from(
      { length: V },
      (_, v) => hidden.reduce((sum, x, c) => sum + x * embedding[v * C + c], 0),
    );
    return { embedding, hidden, logits };
  }

  /** Loss of a position, and, given gradients, its part of them. */
  function position(input: number, target: number, t: number, gradients: Values | null, weight: number) {
    const { embedding, hidden, logits } = forward(input, t);
    const lse = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    if (gradients !== null) {
      const [dEmbedding, dPositions] = [get(gradients, "tok_emb"), get(gradients, "pos_emb")];
      for (let v = 0; v < V; v++) {
        const probability = Math.exp(logits[v] - lse);
        const dLogit = weight * (probability * (1 + 2 * (options.zLoss ?? 0) * lse) - (v === target ? 1 : 0));
        for (let c = 0; c < C; c++) {
          const dHidden = dLogit * embedding[v * C + c];
          dEmbedding[v * C + c] += dLogit * hidden[c];
          dEmbedding[input * C + c] += dHidden;
          dPositions[t * C + c] += dHidden;
        }
      }
    }
    return { loss: lse - logits[target], z: lse * lse };
  }

  function row(batch: Batch, index: number, gradients: Values | null = null, weight = 1) {
    const total = { lossSum: 0, zSum: 0, targetCount: 0 };
    for (let t = 0; t < batch.columns; t++) {
      const at = index * batch.columns + t;
      if (batch.targets[at] === IGNORE) continue;
      const { loss, z } = position(batch.inputs[at], batch.targets[at], t, gradients, weight);
      total.lossSum += loss;
      total.zSum += z;
      total.targetCount++;
    }
    return total;
  }

  return {
    weights: state.weights,
    report: {
      adapter: options.adapter ?? "fake",
      isSoftware: true,
      microBatchSize: options.microBatchSize,
      columns: spec.seqLen,
      parameters,
      optimizerState,
      bytes: { weights: 0, gradients: 0, moments: 0, activations: 0, total: 0 },
      sumLength,
      flopsPerToken: 6 * V * C,
      startup: { deviceMs: 0, compileMs: 0, recordMs: 0, placeMs: 0 },
    },
    write: (kind, name, values) => Promise.resolve(get(state[kind], name).set(values)),
    async read(kind, name) {
      await options.onRead?.();
      return get(kind === "gradient" ? gradientsIn(total()) : state[kind], name).slice();
    },
    beginStep() {
      worker = new Float32Array(sumLength);
      subtrees = [];
      return Promise.resolve();
    },
    async accumulate(micro, step, signal) {
      await options.onAccumulate?.(micro, step, signal);
      if (micro.rows > options.microBatchSize) throw new Error(`${micro.rows} rows are too many`);
      const gradients = gradientsIn(worker);
      const sums = worker.subarray(-SUMS);
      for (let index = 0; index < micro.rows; index++) {
        const part = row(micro, index, gradients, 1 + uniform(1, Stream.test, step, micro.sampleIds[index]));
        [part.lossSum, part.zSum, part.targetCount].forEach((value, i) => sums[i] += value);
      }
      if (options.isPoisoned?.(micro, step)) sums[0] = NaN;
    },
    endWorker() {
      subtrees.push({ workers: 1, sum: worker });
      worker = new Float32Array(sumLength);
      while (subtrees.at(-2)?.workers === subtrees.at(-1)?.workers) {
        const [left, right] = subtrees.splice(-2);
        subtrees.push({ workers: 2 * left.workers, sum: add(left.sum, right.sum) });
      }
      return Promise.resolve();
    },
    readSum: (into = new Float32Array(sumLength)) => {
      into.set(total());
      into[sumLength - 1] = hash();
      options.onSum?.(into);
      return Promise.resolve(into);
    },
    async finishSum({ micro, step, worker }, into, parts, onFinal, signal) {
      await this.accumulate(micro, step, signal);
      await this.endWorker(worker);
      const whole = await this.readSum();
      const bounds = Array.from({ length: parts + 1 }, (_, i) => Math.floor(i * sumLength / parts));
      for (let part = parts; part > 0; part--) {
        const [from, to] = bounds.slice(part - 1);
        into.set(whole.subarray(from, to), from);
        onFinal(from, to);
        await Promise.resolve();
        signal?.throwIfAborted();
      }
    },
    writeSum(values) {
      subtrees = [{ workers: 1, sum: values.slice() }];
      return Promise.resolve();
    },
    update({ step, learningRate }) {
      const sum = total();
      const [lossSum, zSum, targetCount] = sum.subarray(-SUMS);
      const means = gradientsIn(sum.map((value) => value / targetCount));
      let squares = 0;
      for (const values of means.values()) for (const g of values) squares += g ** 2;
      const gradNorm = Math.sqrt(squares);
      isHalted ||= !Number.isFinite(lossSum) || !Number.isFinite(gradNorm);
      results.push({ step, lossSum, zSum, targetCount, gradNorm, halted: isHalted });
      if (!isHalted) {
        for (const { name, decays } of parameters) {
          const w = get(state.weights, name);
          const [m, v] = ["moment1", "moment2"].map((moment) => get(state.optimizer, `${name}.${moment}`));
          const gradients = get(means, name);
          for (let i = 0; i < w.length; i++) {
            const g = gradients[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.99 * v[i] + 0.01 * g * g;
            const [mean, square] = [m[i] / (1 - 0.9 ** step), v[i] / (1 - 0.99 ** step)];
            w[i] = w[i] * (decays ? 1 - 0.1 * learningRate : 1) -
              learningRate * mean / (Math.sqrt(square) + 1e-8);
          }
        }
      }
      return Promise.resolve();
    },
    metrics() {
      const taken = results;
      results = [];
      return Promise.resolve(taken);
    },
    clearHalt() {
      isHalted = false;
      return Promise.resolve();
    },
    async evaluate(batch, signal) {
      await options.onEvaluate?.(signal);
      const rows = Array.from({ length: batch.rows }, (_, index) => row(batch, index));
      return {
        rowLoss: Float32Array.from(rows, ({ lossSum }) => lossSum),
        targetCount: rows.reduce((sum, { targetCount }) => sum + targetCount, 0),
      };
    },
    logits: ({ inputs, columns }) =>
      Promise.resolve(
        Float32Array.from([...inputs].flatMap((input, at) => forward(input, at % columns).logits)),
      ),
    encode: () => Promise.reject(new Error("a bigram model has no encoder")),
    next: (tokens, start) =>
      Promise.resolve(
        Float32Array.from(forward(tokens[tokens.length - 1], start + tokens.length - 1).logits),
      ),
    idle: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

/** In float32: the order of a tree's additions shows. */
function add(left: Float32Array, right: Float32Array): Float32Array {
  return left.map((value, i) => value + right[i]);
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
