/**
 * `deno task bench step [small|middle]`: a whole training step (forward, backward, clip, AdamW) beside other WebGPU
 * libraries: the same model, weights and tokens, on the same adapter in the same run. The losses of all steps are
 * compared before a figure is given.
 */

import { deriveModel } from "../src/config/deriveModel.ts";
import { resolveConfig } from "../src/config/load.ts";
import { type LocalEngine, openLocalEngine } from "../src/engine/localEngine.ts";
import { openGpu } from "../src/gpu/device.ts";
import { initialValues } from "../src/model/init.ts";
import { matmulRoof } from "./_matmul.ts";
import { median, type Report, reportDrift } from "./_report.ts";
import { stepPeers, type StepRun } from "./peers/step.ts";

const SIZES = {
  /** nanoGPT's size for a CPU. */
  small: { numLayers: 4, numHeads: 4, modelDim: 128, seqLen: 64, vocabSize: 65, batch: 12, perRun: 8 },
  middle: { numLayers: 6, numHeads: 6, modelDim: 384, seqLen: 256, vocabSize: 4096, batch: 4, perRun: 2 },
};
export type StepSize = keyof typeof SIZES;
export const stepSizes = Object.keys(SIZES) as StepSize[];

const OPTIMIZER = { learningRate: 1e-3, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, clip: 1 };
/** Steps that are not timed. */
const WARM_UP = 2;
/** Timed runs of `perRun` steps each; the device is waited for once a run, as training does now and then. */
const RUNS = 4;
/** Largest difference of the mean losses; all run in float32. */
const LOSS_TOLERANCE = 2e-3;

type Weights = Map<string, Float32Array<ArrayBuffer>>;

export async function benchStep(report: Report, size: StepSize): Promise<void> {
  const { batch, perRun, ...sizes } = SIZES[size];
  const gpu = await openGpu();
  const before = await matmulRoof(gpu);
  const { engine, weights } = await openOurs(size);
  const steps = WARM_UP + RUNS * perRun;
  const data = Array.from({ length: steps }, (_, step) => tokens(batch, sizes.seqLen, sizes.vocabSize, step));

  const ours = await timeSteps(asRun(engine), data, perRun);
  const flops = engine.report.flopsPerToken * batch * sizes.seqLen;
  const rate = flops / ours.seconds / 1e9;
  const isRate = { bench: "step", unit: "GFLOP/s" };
  report({ bench: "step", case: size, value: ours.seconds * 1000, unit: "ms" });
  report({
    ...isRate,
    case: `${size} rate`,
    value: rate,
    note: `${(100 * rate / before).toFixed(0)}% of our best matmul`,
  });
  await reportKernels(report, engine, size, batch, sizes.seqLen, ours.seconds);
  await engine.close();

  for (const peer of stepPeers) {
    const run = await peer.create(sizes, batch, OPTIMIZER, weights);
    const theirs = await timeSteps(run, data, perRun);
    run.dispose();
    const difference = Math.max(...theirs.losses.map((loss, i) => Math.abs(loss - ours.losses[i])));
    if (!(difference < LOSS_TOLERANCE)) throw new Error(`${peer.name}: losses differ by ${difference}`);
    report({
      bench: "step",
      case: size,
      value: theirs.seconds * 1000,
      unit: "ms",
      peer: peer.name,
      ratio: theirs.seconds / ours.seconds,
      note: `${steps} losses agree to ${difference.toExponential(1)}`,
    });
  }
  reportDrift(report, "step", before, await matmulRoof(gpu), "GFLOP/s");
  gpu.close();
}

async function openOurs(size: StepSize): Promise<{ engine: LocalEngine; weights: Weights }> {
  const { batch, perRun: _perRun, vocabSize, ...sizes } = SIZES[size];
  const config = resolveConfig({});
  const model = deriveModel({ ...config.model, ...sizes, vocabSize }, vocabSize);
  const { learningRate: _, clip, ...adamw } = OPTIMIZER;
  const optimizer = { kind: "adamw", ...adamw } as const;
  const training = { optimizer, clip, seed: 0, virtualWorkers: 1, recompute: false };
  const engine = await openLocalEngine(
    { model, microBatchSize: batch, columns: sizes.seqLen, training },
    { tune: true },
  );
  const weights: Weights = new Map();
  for (const parameter of engine.report.parameters) {
    const values = Float32Array.from(initialValues(parameter, { ...model, seed: 1 }));
    weights.set(parameter.name, values);
    await engine.write("weights", parameter.name, values);
  }
  return { engine, weights };
}

function asRun(engine: LocalEngine): StepRun {
  let step = 0;
  const { columns } = engine.report;
  return {
    async step(inputs, targets) {
      step++;
      const rows = inputs.length / columns;
      await engine.beginStep();
      await engine.accumulate({ rows, columns, inputs, targets, sampleIds: new Uint32Array(rows) }, step);
      await engine.endWorker(0);
      await engine.update({ step, learningRate: OPTIMIZER.learningRate });
    },
    async losses() {
      return (await engine.metrics()).map(({ lossSum, targetCount }) => lossSum / targetCount);
    },
    dispose: () => {},
  };
}

/** A batch with something to learn: the next token is mostly a function of this one. */
function tokens(batch: number, columns: number, vocabSize: number, step: number) {
  const count = batch * columns;
  const inputs = new Int32Array(count);
  const targets = new Int32Array(count);
  let state = step + 1;
  let token = 0;
  for (let i = 0; i < count; i++) {
    inputs[i] = token;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    token = (state >>> 24) < 200 ? (token * 7 + 3) % vocabSize : state % vocabSize;
    targets[i] = token;
  }
  return { inputs, targets };
}

async function timeSteps(run: StepRun, data: readonly ReturnType<typeof tokens>[], perRun: number) {
  const losses: number[] = [];
  const seconds: number[] = [];
  const play = async (part: typeof data) => {
    for (const { inputs, targets } of part) await run.step(inputs, targets);
    losses.push(...await run.losses());
  };
  await play(data.slice(0, WARM_UP));
  for (let at = WARM_UP; at < data.length; at += perRun) {
    const begin = performance.now();
    await play(data.slice(at, at + perRun));
    seconds.push((performance.now() - begin) / 1000 / perRun);
  }
  return { losses, seconds: median(seconds) };
}

/** Where the time of a step goes, kernel by kernel, and how much of it is outside of kernels. */
async function reportKernels(
  report: Report,
  engine: LocalEngine,
  size: StepSize,
  batch: number,
  columns: number,
  stepSeconds: number,
): Promise<void> {
  const { inputs, targets } = tokens(batch, columns, SIZES[size].vocabSize, 0);
  const micro = { rows: batch, columns, inputs, targets, sampleIds: new Uint32Array(batch) };
  await engine.profile(micro);
  const times = await engine.profile(micro);
  const byKernel = Map.groupBy(times, ({ kernel }) => kernel);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const rows = [...byKernel].map(([kernel, group]) => ({
    kernel,
    count: group.length,
    ns: sum(group.map(({ nanoseconds }) => nanoseconds)),
    flops: sum(group.map(({ flops }) => flops)),
  }));
  for (const { kernel, count, ns, flops } of rows.toSorted((a, b) => b.ns - a.ns)) {
    const note = `${count} x, ${(flops / ns).toFixed(1)} GFLOP/s`;
    report({ bench: "step", case: `${size} kernel ${kernel}`, value: ns / 1e6, unit: "ms", note });
  }
  const inKernels = sum(rows.map(({ ns }) => ns)) / 1e9;
  const share = Math.max(0, 100 * (1 - inKernels / stepSeconds));
  report({ bench: "step", case: `${size} outside of kernels`, value: share, unit: "%" });
}
