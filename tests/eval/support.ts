import { join } from "@std/path";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { openDataset } from "../../src/data/dataset.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { normals, Stream } from "../../src/random.ts";
import type { TrainingResult } from "../../src/train/trainer.ts";
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
export function inferenceEngine(spec: ModelSpec, microBatchSize = 1) {
  return openLocalEngine({ model: spec, microBatchSize, columns: spec.seqLen, training: null });
}

export async function writeRandomWeights(engine: Engine): Promise<void> {
  for (const [i, { name, shape }] of engine.report.parameters.entries()) {
    const count = shape.reduce((product, size) => product * size, 1);
    await engine.write("weights", name, normals(count, 0.3, 1, Stream.test, i));
  }
}

/** Logits (T, V) of the whole row by the full forward. */
export async function fullForward(engine: Engine, row: ArrayLike<number>): Promise<Float32Array> {
  const { columns } = engine.report;
  const inputs = new Int32Array(columns);
  inputs.set(row);
  const targets = new Int32Array(columns);
  return await engine.logits({ rows: 1, columns, inputs, targets, sampleIds: new Uint32Array(1) });
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
  const { seed, tokenizer, bpeVocabSize, model: { seqLen }, validation: { fraction } } = config;
  const dataset = await openDataset({
    data: { text: TEXT },
    ...{ tokenizer, bpeVocabSize, seqLen, seed },
    validationFraction: fraction,
    folder: run,
  });
  const { beta1, beta2, eps, weightDecay, clip } = config.optimizer;
  const engine = await openLocalEngine({
    model: deriveModel(config.model, dataset.tokenizer.vocabSize),
    microBatchSize: 2,
    columns: seqLen,
    training: { beta1, beta2, eps, weightDecay, clip, seed, virtualWorkers: 1, recompute: false },
  });
  try {
    return await tinyRun(run, config, { engine, dataset });
  } finally {
    await engine.close();
  }
}

export const stepFolder = (run: string, step: number) => join(run, "checkpoints", `step-${step}`);
