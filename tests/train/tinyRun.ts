import { join } from "@std/path";
import { deriveRun } from "../../src/config/derive.ts";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { resolveConfig } from "../../src/config/load.ts";
import type { RunConfig } from "../../src/config/schema.ts";
import { type Dataset, openDataset } from "../../src/data/dataset.ts";
import type { ParameterInfo } from "../../src/engine/engine.ts";
import { openRunFolder } from "../../src/train/runFolder.ts";
import { runTraining } from "../../src/train/trainer.ts";
import type { TrainingOptions, TrainingResult } from "../../src/train/trainingRun.ts";
import { fakeEngine, type FakeOptions } from "./fakeEngine.ts";

const TEXT = "a cab can bend a bead and a bee can add a decade ".repeat(9);

/** A run of 7 steps with a ramp-up from 1 to 5 samples: 1, 1, 3, 5, 5, 5, 5. */
export function tinyConfig(...overrides: string[]): RunConfig {
  return resolveConfig({
    overrides: [
      "name=tiny",
      "tokenizer=chars",
      "model.numLayers=1",
      "model.modelDim=4",
      "model.numHeads=2",
      "model.seqLen=5",
      "model.zLoss=0.01",
      "train.batchSize=5",
      "train.microBatchSize=2",
      "train.duration=7 steps",
      'train.rampUp={"start": 1, "increment": 2, "samples": 4}',
      "optimizer.warmup=2 steps",
      "validation.every=2 steps",
      "validation.samples=3",
      "checkpoint.every=3 steps",
      "checkpoint.best=false",
      "log.every=2",
      "log.tensorboard=false",
      ...overrides,
    ],
  });
}

export function tinyDataset(config: RunConfig, text = TEXT): Promise<Dataset> {
  return openDataset({
    data: { text },
    tokenizer: config.tokenizer,
    bpeVocabSize: config.bpeVocabSize,
    seqLen: config.model.seqLen,
    seed: config.seed,
    validationFraction: config.validation.fraction,
    folder: null,
  });
}

export interface TinyOptions
  extends Partial<Omit<FakeOptions, "parameters">>, Partial<Omit<TrainingOptions, "config" | "folder">> {
  readonly parametersOf?: (spec: ModelSpec) => readonly ParameterInfo[];
}

/** Trains in a folder, or without one, on a fresh fake engine. */
export async function tinyRun(
  path: string | null,
  config: RunConfig,
  options: TinyOptions = {},
): Promise<TrainingResult> {
  const dataset = options.dataset ?? await tinyDataset(config);
  const spec = deriveModel(config.model, dataset.tokenizer.vocabSize);
  const engine = options.engine ?? fakeEngine(spec, {
    microBatchSize: deriveRun(config).microBatchSize,
    zLoss: config.model.zLoss,
    ...options,
    parameters: options.parametersOf?.(spec),
  });
  using folder = path === null ? null : await openRunFolder(path, config);
  return await runTraining({ ...options, config, engine, dataset, folder });
}

/** All files below a folder: relative path to bytes. */
export function readTree(folder: string): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {};
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isFile) files[entry.name] = Deno.readFileSync(path);
    else for (const [name, bytes] of Object.entries(readTree(path))) files[join(entry.name, name)] = bytes;
  }
  return files;
}

/** metrics.jsonl without what a clock says. */
export function readMetrics(run: string): Record<string, unknown>[] {
  return Deno.readTextFileSync(join(run, "metrics.jsonl")).trim().split("\n").map((line) => {
    const { tokensPerSecond: _, msPerStep: __, gflops: ___, etaSeconds: ____, ...kept } = JSON.parse(line);
    return kept;
  });
}

/** Runs a test with a folder that is removed afterwards. */
export async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The steps of a run's checkpoints, by folder name. */
export function checkpointNames(run: string): string[] {
  return [...Deno.readDirSync(join(run, "checkpoints"))].map(({ name }) => name).sort();
}
