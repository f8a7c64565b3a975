import { type ModelSpec, PLAIN_GPT } from "../../src/config/deriveModel.ts";
import { type Batch, IGNORE } from "../../src/data/batch.ts";
import type { Engine, EngineReport, StateKind, TensorInfo } from "../../src/engine/engine.ts";
import { type LocalEngine, type LocalEngineOptions, openLocalEngine } from "../../src/engine/localEngine.ts";
import type { EngineSpec, TrainingSpec } from "../../src/engine/spec.ts";
import { normals, Stream, uniform } from "../../src/random.ts";
import { digestOf } from "../../src/train/digest.ts";
import { bindingCap, testGpu } from "../_gpu.ts";

/** Two blocks with awkward sizes; every option at its simplest. */
export const MODEL: ModelSpec = {
  ...PLAIN_GPT,
  numLayers: 2,
  modelDim: 12,
  numHeads: 4,
  numKvHeads: 4,
  headDim: 3,
  ffnDim: 17,
  vocabSize: 11,
  seqLen: 7,
};

export const TRAINING: TrainingSpec = {
  seed: 5,
  optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 },
  clip: 1,
  virtualWorkers: 1,
  recompute: false,
};

interface TinySpec {
  readonly model?: Partial<ModelSpec>;
  readonly training?: Partial<TrainingSpec>;
  readonly microBatchSize?: number;
}

export function tinySpec({ model = {}, training = {}, microBatchSize = 3 }: TinySpec = {}): EngineSpec {
  const spec = { ...MODEL, ...model };
  return { model: spec, microBatchSize, columns: spec.seqLen, training: { ...TRAINING, ...training } };
}

/** Values of order 1 where it matters, so that a mistake anywhere shows: the same for the same name. */
export function tinyWeights(
  { parameters }: Pick<EngineReport, "parameters">,
): Map<string, Float32Array<ArrayBuffer>> {
  return new Map(parameters.map(({ name, shape }, sub) => {
    const isNorm = name.includes("norm") && name.endsWith(".weight");
    const values = normals(shape.reduce((a, b) => a * b), 0.3, 1, Stream.test, sub);
    return [name, Float32Array.from(values, (value) => isNorm ? 1 + value : value)];
  }));
}

export async function fill(engine: Engine): Promise<void> {
  for (const [name, values] of tinyWeights(engine.report)) await engine.write("weights", name, values);
}

/** An engine on this file's device, with weights. */
export async function openTiny(spec: EngineSpec, options: LocalEngineOptions = {}): Promise<LocalEngine> {
  const { device } = await testGpu();
  const engine = await openLocalEngine(spec, { device, maxBinding: bindingCap(), ...options });
  await fill(engine);
  return engine;
}

/**
 * What tokens see, where they stand: `plain` is what a batch that says nothing gets; documents are separate, and in
 * `packed` rows their positions restart.
 */
export type TinyMask = "plain" | "prefix" | "separate" | "packed";

/**
 * Rows of the stream of samples: what a row holds depends on its sample alone. A seventh of the targets has no loss.
 * A model with an encoder gets source rows of five tokens, of which the last ones are padding.
 */
export function tinyBatch(
  firstSample: number,
  rows: number,
  { seqLen, vocabSize, numEncoderLayers, architecture }: ModelSpec = MODEL,
  mask: TinyMask = architecture === "nonCausalDecoder" ? "prefix" : "plain",
): Batch {
  const draw = (sub: number, i: number) => uniform(2, Stream.test, sub, firstSample * seqLen + i);
  const each = (value: (i: number) => number) =>
    Int32Array.from({ length: rows * seqLen }, (_, i) => value(i));
  return {
    rows,
    columns: seqLen,
    inputs: each((i) => Math.floor(draw(0, i) * vocabSize)),
    targets: each((i) => draw(1, i) < 1 / 7 ? IGNORE : Math.floor(draw(2, i) * vocabSize)),
    sampleIds: Uint32Array.from({ length: rows }, (_, row) => firstSample + row),
    ...tinySpans(mask, firstSample, rows, seqLen),
    ...(numEncoderLayers > 0 ? { source: tinySource(firstSample, rows, seqLen, vocabSize) } : {}),
  };
}

function tinySpans(mask: TinyMask, firstSample: number, rows: number, T: number) {
  if (mask === "plain") return {};
  const start = (column: number) => column < 2 ? 0 : column < 3 ? 2 : 3; // documents of 2, 1 and more tokens
  const span = (row: number, column: number): [number, number] => {
    if (mask !== "prefix") return [start(column), column + 1];
    const prefix = 1 + (firstSample + row) % T;
    return [0, Math.max(column + 1, prefix)];
  };
  const each = (value: (row: number, column: number) => number[]) =>
    Uint32Array.from(Array.from({ length: rows * T }, (_, i) => value(Math.floor(i / T), i % T)).flat());
  return {
    spans: each(span),
    ...(mask === "packed" ? { places: each((_row, column) => [column - start(column)]) } : {}),
  };
}

function tinySource(firstSample: number, rows: number, T: number, vocabSize: number) {
  const S = Math.min(5, T);
  const length = (row: number) => 1 + (firstSample + row) % S;
  const spans = (columns: number) =>
    Uint32Array.from({ length: 2 * rows * columns }, (_, i) => i % 2 * length(Math.floor(i / 2 / columns)));
  return {
    columns: S,
    inputs: Int32Array.from({ length: rows * S }, (_, i) => {
      return Math.floor(uniform(2, Stream.test, 7, firstSample * S + i) * vocabSize);
    }),
    spans: spans(S),
    crossSpans: spans(T),
  };
}

/** One worker's step on samples `from` to `to`, in micro-batches of `rows`. */
export async function accumulate(
  engine: Engine,
  step: number,
  from: number,
  to: number,
  rows: number,
  model: ModelSpec = MODEL,
  mask?: TinyMask,
): Promise<void> {
  for (let at = from; at < to; at += rows) {
    await engine.accumulate(tinyBatch(at, Math.min(rows, to - at), model, mask), step);
  }
}

/** A step of a single micro-batch. */
export async function stepOn(engine: Engine, batch: Batch, step: number, learningRate = 0.01): Promise<void> {
  await engine.beginStep();
  await engine.accumulate(batch, step);
  await engine.endWorker(0);
  await engine.update({ step, learningRate });
}

/** Three steps of five samples each. */
export async function threeSteps(
  engine: Engine,
  model: ModelSpec = MODEL,
  rows = 2,
  mask?: TinyMask,
): Promise<void> {
  for (let step = 1; step <= 3; step++) {
    await engine.beginStep();
    await accumulate(engine, step, 5 * step, 5 * step + 5, rows, model, mask);
    await engine.endWorker(0);
    await engine.update({ step, learningRate: 0.01 });
  }
}

/** Gives an engine the state of another. */
export async function copyState(from: Engine, to: Engine): Promise<void> {
  for (const [kind, tensors] of stateOf(from)) {
    const values = await Promise.all(tensors.map(({ name }) => from.read(kind, name)));
    for (const [i, { name }] of tensors.entries()) await to.write(kind, name, values[i]);
  }
}

function stateOf({ report }: Engine): [StateKind, readonly TensorInfo[]][] {
  return [["weights", report.parameters], ["optimizer", report.optimizerState]];
}

/** The digest of weights and of the optimizer's state. */
export function stateDigest(engine: Engine): Promise<string> {
  const files = stateOf(engine).map(([kind, tensors]) =>
    tensors.map(({ name, shape }) => {
      const values = engine.read(kind, name); // asked for at once, so that all share a wait
      return { name, dtype: "F32" as const, shape, values: () => values };
    })
  );
  return digestOf(...files);
}

export type Gradients = Map<string, Float32Array>;

/** The gradients of a parameter of each kind: every read waits for the queue. */
export async function readGradients(engine: Engine): Promise<Gradients> {
  const gradients: Gradients = new Map();
  for (
    const name of [
      "tok_emb",
      "pos_emb",
      "blocks.0.attn.qkv.weight",
      "blocks.1.mlp.up.bias",
      "final_norm.weight",
    ]
  ) {
    gradients.set(name, await engine.read("gradient", name));
  }
  return gradients;
}
