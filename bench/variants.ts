/**
 * `deno task bench variants`: a training step of each axis of the model beside the baseline, a plain GPT of the same
 * size: how many times its time it takes, and how many times its operations it has.
 */
import { engineSpec } from "../src/api/parts.ts";
import type { ModelSpec } from "../src/config/deriveModel.ts";
import { resolveConfig } from "../src/config/load.ts";
import { MODEL_AXES } from "../src/config/modelAxes.ts";
import type { Batch } from "../src/data/batch.ts";
import { type LocalEngine, openLocalEngine } from "../src/engine/localEngine.ts";
import { initialValues } from "../src/model/init.ts";
import { median, type Report } from "./_report.ts";

const VOCAB_SIZE = 1024;
/** Settings of all, under a variant's own. */
const BASELINE = [
  "model.numLayers=4",
  "model.modelDim=256",
  "model.numHeads=8",
  "model.seqLen=256",
  "train.batchSize=4",
];
const ROUNDS = 6;

/** What values need beside themselves to be a model of the baseline's size. */
const COMPANIONS: Readonly<Record<string, readonly string[]>> = {
  banded: ["model.window=64"],
  alternating: ["model.window=64"],
  nonCausalDecoder: ["objective.kind=prefix"],
  encoderDecoder: ["model.numLayers=2"],
};

/** Settings of each variant: every value of the model's axes that the baseline has not, then numbers and the rest. */
export const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(
    Object.entries(MODEL_AXES).flatMap(([key, [, ...others]]) =>
      others.map((value) => [
        `${key} ${value}`,
        [`model.${key}=${value}`, ...(COMPANIONS[`${value}`] ?? [])],
      ])
    ),
  ),
  "headDim 64": ["model.headDim=64"],
  "numKvHeads 2": ["model.numKvHeads=2"],
  "logitSoftCap 30": ["model.logitSoftCap=30"],
  "zLoss 1e-4": ["model.zLoss=1e-4"],
  "dropout 0.1": ["model.dropout=0.1", "model.attentionDropout=0.1"],
  "packed documents of 64": ["packing.separate=true"],
  "recompute": ["engine.recompute=true"],
  "adafactor": ["optimizer.kind=adafactor"],
};

interface Run {
  readonly engine: LocalEngine;
  readonly batch: Batch;
  /** Of the whole step. */
  readonly flops: number;
}

export async function benchVariants(report: Report): Promise<void> {
  const baseline = await open([]);
  for (const [name, overrides] of Object.entries(VARIANTS)) {
    const run = await open(overrides);
    const [base, own]: number[][] = [[], []];
    for (let round = 0; round <= ROUNDS; round++) {
      const times = [await time(baseline), await time(run)];
      if (round === 0) continue; // the first ones warm up
      base.push(times[0]);
      own.push(times[1]);
    }
    const operations = run.flops / baseline.flops;
    report({
      bench: "variants",
      case: name,
      value: median(own) * 1000,
      unit: "ms",
      peer: "baseline",
      ratio: median(own) / median(base),
      note: `${operations.toFixed(2)} times its operations`,
    });
    await run.engine.close();
  }
  await baseline.engine.close();
}

async function open(overrides: readonly string[]): Promise<Run> {
  const config = resolveConfig({ overrides: [...BASELINE, ...overrides] });
  const spec = engineSpec(config, { vocabulary: null, vocabSize: VOCAB_SIZE });
  const { model, microBatchSize } = spec;
  const engine = await openLocalEngine(spec, { tune: config.engine.tune });
  for (const parameter of engine.report.parameters) {
    const values = Float32Array.from(initialValues(parameter, { ...model, seed: config.seed }));
    await engine.write("weights", parameter.name, values);
  }
  const flops = engine.report.flopsPerToken * microBatchSize * model.seqLen;
  return { engine, batch: batchFor(model, microBatchSize, config.packing.separate), flops };
}

/** Rows of ids; half of a row is prefix, packed documents have 64 tokens. */
function batchFor({ architecture, seqLen: T, vocabSize }: ModelSpec, rows: number, isPacked: boolean): Batch {
  const ids = (salt: number) =>
    Int32Array.from({ length: rows * T }, (_, i) => (i * 7919 + salt) % vocabSize);
  const spans = (see: (column: number) => [number, number]) =>
    Uint32Array.from(Array.from({ length: rows * T }, (_, i) => see(i % T)).flat());
  return {
    rows,
    columns: T,
    inputs: ids(0),
    targets: ids(1),
    sampleIds: new Uint32Array(rows),
    spans: architecture === "nonCausalDecoder"
      ? spans((column) => [0, Math.max(column + 1, T / 2)])
      : isPacked
      ? spans((column) => [column - column % 64, column + 1])
      : undefined,
    source: architecture === "encoderDecoder" ? { columns: T, inputs: ids(2) } : undefined,
  };
}

let step = 0;

/** Seconds of a step, its fence included. */
async function time({ engine, batch }: Run): Promise<number> {
  const begin = performance.now();
  await engine.beginStep();
  await engine.accumulate(batch, ++step);
  await engine.endWorker(0);
  await engine.update({ step, learningRate: 1e-3 });
  await engine.metrics();
  return (performance.now() - begin) / 1000;
}
