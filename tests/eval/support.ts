import { join } from "@std/path";
import { deriveRun } from "../../src/config/derive.ts";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { openDataset } from "../../src/data/dataset.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { normals, Stream, uniform } from "../../src/random.ts";
import type { TrainingResult } from "../../src/train/trainingRun.ts";
import { testGpu } from "../_gpu.ts";
import { tinyConfig, tinyRun } from "../train/tinyRun.ts";

export const TEXT = "the cat sat on the mat, and the dog sat on the cat.\n".repeat(12);

/** A model with grouped keys and values and a context beyond a prefill's 64 tokens. */
export function tinySpec(changes: Partial<ModelSpec> = {}): ModelSpec {
  const { model } = tinyConfig();
  return {
    ...deriveModel({ ...model, numLayers: 2, modelDim: 24, numHeads: 4, numKvHeads: 2, seqLen: 150 }, 31),
    ...changes,
  };
}

/** An engine that does not train, one row at a time. */
export async function inferenceEngine(spec: ModelSpec, microBatchSize = 1, columns = spec.seqLen) {
  const { device } = await testGpu();
  return await openLocalEngine({ model: spec, microBatchSize, columns, training: null }, { device });
}

export function someTokens(count: number, vocabSize: number, sub = 9): Int32Array {
  return Int32Array.from(
    { length: count },
    (_, i) => Math.floor(uniform(3, Stream.test, sub, i) * vocabSize),
  );
}

/** Values of order 1 where it matters, so that every token has a say. */
export async function writeRandomWeights(engine: Engine): Promise<void> {
  for (const [i, { name, shape }] of engine.report.parameters.entries()) {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = normals(count, 0.3, 1, Stream.test, i);
    const mean = /norm.*weight$/.test(name) ? 1 : 0;
    await engine.write("weights", name, values.map((value) => mean + value));
  }
}

/** What a row has beside the decoder's tokens. */
interface RowOptions {
  /** Tokens that see one another both ways. */
  readonly prefix?: number;
  /** What the encoder reads. */
  readonly source?: ArrayLike<number>;
}

/** Logits (T, V) of the whole row by the full forward. */
export async function fullForward(
  engine: Engine,
  row: ArrayLike<number>,
  { prefix = 0, source }: RowOptions = {},
): Promise<Float32Array> {
  const { columns } = engine.report;
  const padded = (tokens: ArrayLike<number>) => {
    const ids = new Int32Array(columns);
    ids.set(tokens);
    return ids;
  };
  const spansTo = (to: (column: number) => number) =>
    Uint32Array.from({ length: 2 * columns }, (_, i) => i % 2 * to(i >> 1)); // (T, 2)
  const seen = source && spansTo(() => source.length);
  return await engine.logits({
    ...{ rows: 1, columns, inputs: padded(row), targets: new Int32Array(columns) },
    sampleIds: new Uint32Array(1),
    spans: spansTo((column) => Math.max(column + 1, prefix)),
    source: source && { columns, inputs: padded(source), spans: seen, crossSpans: seen },
  });
}

/** Trains a tiny model on the GPU for 3 steps, with checkpoints of steps 2 and 3. */
export async function trainTiny(run: string, ...overrides: string[]): Promise<TrainingResult> {
  const config = tinyConfig(
    "model.modelDim=8",
    "model.seqLen=8",
    "model.zLoss=0",
    "train.rampUp=null",
    "train.duration=3 steps",
    "checkpoint.every=2 steps",
    ...overrides,
  );
  const { seed, tokenizer, bpeVocabSize, validation: { fraction }, objective, packing } = config;
  const { seqLen, architecture } = config.model;
  const options = {
    data: { text: TEXT },
    ...{ tokenizer, bpeVocabSize, seqLen, seed, architecture, objective, packing },
    validationFraction: fraction,
  };
  const dataset = await openDataset({ ...options, folder: null });
  const { device } = await testGpu();
  const engine = await openLocalEngine({
    model: deriveModel(config.model, dataset.vocabSize),
    microBatchSize: 2,
    columns: seqLen,
    training: {
      optimizer: deriveRun(config).update,
      clip: config.optimizer.clip,
      seed,
      virtualWorkers: 1,
      recompute: false,
    },
  }, { device });
  try {
    const result = await tinyRun(run, config, { engine, dataset });
    await openDataset({ ...options, folder: run }); // which keeps the tokens
    return result;
  } finally {
    await engine.close();
  }
}

export const stepFolder = (run: string, step: number) => join(run, "checkpoints", `step-${step}`);
