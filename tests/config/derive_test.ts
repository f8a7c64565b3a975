import { assert, assertEquals, assertThrows } from "@std/assert";
import { deriveRun, describeDeviations, workerShare } from "../../src/config/derive.ts";
import { deriveModel } from "../../src/config/deriveModel.ts";
import { countParameters } from "../../src/model/parameters.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";

function config(...overrides: string[]) {
  return resolveConfig({ overrides });
}

function modelOf(vocabSize: number, ...overrides: string[]) {
  return deriveModel(config(...overrides).model, vocabSize);
}

function runOf(...overrides: string[]) {
  return deriveRun(config(...overrides));
}

function assertRefused(fn: () => unknown, message: string) {
  assertEquals(assertThrows(fn, UserError).message, message);
}

Deno.test("deriveModel() fills in the sizes that are left open", () => {
  const plain = modelOf(97, "model.modelDim=36", "model.numHeads=3");
  assertEquals([plain.numKvHeads, plain.headDim, plain.ffnDim, plain.vocabSize], [3, 12, 144, 97]);
  const given = modelOf(97, "model.numKvHeads=2", "model.ffnDim=7", "model.vocabSize=128");
  assertEquals([given.numKvHeads, given.headDim, given.ffnDim, given.vocabSize], [2, 32, 7, 128]);
});

Deno.test("deriveModel() makes gated MLPs as large as plain ones", () => {
  assertEquals(
    modelOf(97, "model.modelDim=2048", "model.numHeads=16", "model.activation=swiglu").ffnDim,
    5456,
  );
  assertEquals(modelOf(97, "model.modelDim=2", "model.numHeads=1", "model.activation=geglu").ffnDim, 8);
});

Deno.test("deriveModel() refuses sizes that don't fit together", () => {
  assertRefused(
    () => modelOf(97, "model.modelDim=130"),
    "model.modelDim is 130, expected a multiple of model.numHeads (4), or model.headDim",
  );
  assertRefused(
    () => modelOf(97, "model.numKvHeads=3"),
    "model.numHeads is 4, expected a multiple of model.numKvHeads (3)",
  );
  assertRefused(
    () => modelOf(97, "model.modelDim=1028"),
    "model.modelDim / model.numHeads is 257, expected at most 256: at least 5 heads",
  );
  assertRefused(
    () => modelOf(97, "model.vocabSize=96"),
    "model.vocabSize is 96, expected at least the tokenizer's 97",
  );
});

Deno.test("countParameters() gives the published size of the 1.3B baseline", () => {
  const model = ["model.numLayers=24", "model.modelDim=2048", "model.numHeads=16", "model.seqLen=2048"];
  assertEquals(countParameters(modelOf(50257, ...model)), 1_315_723_264);
  assertEquals(countParameters(modelOf(50257, ...model, "model.vocabSize=50304")), 1_315_819_520);
});

Deno.test("countParameters() counts heads, gates, norms and biases that are there", () => {
  const model = [
    "model.numLayers=2",
    "model.modelDim=32",
    "model.numHeads=4",
    "model.numKvHeads=2",
    "model.ffnDim=52",
    "model.activation=swiglu",
    "model.norm=rmsnorm",
    "model.positions=none",
    "model.tied=false",
  ];
  const matrices = 2 * (64 * 32 + 32 * 32 + 104 * 32 + 32 * 52);
  assertEquals(countParameters(modelOf(61, ...model, "model.bias=false")), 2 * 61 * 32 + matrices + 5 * 32);
  const biases = 2 * (64 + 32 + 104 + 32);
  assertEquals(countParameters(modelOf(61, ...model)), 2 * 61 * 32 + matrices + 5 * 32 + biases);
});

Deno.test("deriveRun() measures the duration in steps, samples and tokens", () => {
  const size = ["train.batchSize=5", "model.seqLen=7"];
  const cases = [["3 steps", 3], ["15 samples", 3], ["16 samples", 4], ["105 tokens", 3], [
    "106 tokens",
    4,
  ]] as const;
  for (const [duration, steps] of cases) {
    const run = runOf(...size, `train.duration=${duration}`);
    assertEquals(
      [run.totalSteps, run.totalSamples, run.totalTokens],
      [steps, steps * 5, steps * 35],
      duration,
    );
  }
  assertRefused(() => runOf("train.duration=0"), "train.duration is 0 steps, expected at least one step");
});

Deno.test("deriveRun() keeps the micro-batch within a virtual worker's share", () => {
  assertEquals(runOf("train.batchSize=100").microBatchSize, 16);
  assertEquals(runOf("train.batchSize=13", "scale.virtualWorkers=3").microBatchSize, 5);
  assertEquals(runOf("train.batchSize=13", "scale.virtualWorkers=20").microBatchSize, 1);
  assertEquals(runOf("train.batchSize=100", "train.microBatchSize=40").microBatchSize, 40);
  assertEquals(runOf("train.batchSize=13", "train.microBatchSize=40").microBatchSize, 13);
});

/** Megatron-LM's rule, step by step. */
function* rampUpSteps(batchSize: number, start: number, increment: number, samples: number) {
  const parts = (batchSize - start) / increment;
  for (let firstSample = 0;;) {
    const part = Math.floor(firstSample * parts / samples);
    const size = firstSample >= samples ? batchSize : start + part * increment;
    yield { firstSample, batchSize: size };
    firstSample += size;
  }
}

Deno.test("batchAt() ramps the batch size up by Megatron's rule", () => {
  const cases = [[512, 32, 32, 2000], [8, 2, 2, 60], [7, 1, 3, 1], [64, 1, 1, 100], [12, 4, 8, 13], [
    31,
    2,
    1,
    997,
  ]];
  for (const [batchSize, start, increment, samples] of cases) {
    const run = runOf(
      `train.batchSize=${batchSize}`,
      `train.rampUp=${JSON.stringify({ start, increment, samples })}`,
    );
    const expected = rampUpSteps(batchSize, start, increment, samples);
    for (let step = 1; step <= 150; step++) {
      const batch = expected.next().value;
      assertEquals(run.batchAt(step), batch);
      assertEquals(run.progressAt(step - 1).samples, batch?.firstSample);
    }
  }
});

Deno.test("batchAt() answers for any step of a long run", () => {
  const run = runOf("train.batchSize=512", 'train.rampUp={"start":32,"increment":32,"samples":2000000}');
  const step = 300_000_000;
  const { firstSample, batchSize } = run.batchAt(step);
  assertEquals(batchSize, 512);
  assertEquals(run.batchAt(step + 1).firstSample, firstSample + 512);
  assertEquals(run.stepsFor({ value: firstSample, unit: "samples" }), step - 1);
});

Deno.test("batchAt() keeps its size where the ramp-up starts at the full batch", () => {
  const run = runOf("train.batchSize=6", 'train.rampUp={"start":6,"increment":2,"samples":50}');
  assertEquals(run.batchAt(3), { firstSample: 12, batchSize: 6 });
});

Deno.test("batchAt() refuses a ramp-up that misses the batch size, and steps before the first", () => {
  for (const [start, increment] of [[1, 2], [20, 2]]) {
    assertRefused(
      () =>
        runOf("train.batchSize=16", `train.rampUp={"start":${start},"increment":${increment},"samples":9}`),
      `train.rampUp goes from ${start} in steps of ${increment}, expected to meet train.batchSize (16)`,
    );
  }
  assertThrows(() => runOf().batchAt(0), Error, "expected a whole number from 1");
});

Deno.test("stepsFor() is the fewest steps that reach an amount", () => {
  const run = runOf(
    "train.batchSize=9",
    'train.rampUp={"start":3,"increment":2,"samples":40}',
    "model.seqLen=5",
  );
  for (let samples = 0; samples < 120; samples++) {
    const steps = run.stepsFor({ value: samples, unit: "samples" });
    assert(run.progressAt(steps).samples >= samples);
    assert(steps === 0 || run.progressAt(steps - 1).samples < samples);
    assertEquals(run.stepsFor({ value: samples * 5, unit: "tokens" }), steps);
  }
});

Deno.test("workerShare() cuts a batch into neighbouring shares that differ by one sample at most", () => {
  for (const [virtualWorkers, batchSize] of [[1, 7], [3, 7], [7, 65], [5, 3], [4, 0]]) {
    let next = 0;
    for (let worker = 0; worker < virtualWorkers; worker++) {
      const { from, to } = workerShare(worker, virtualWorkers, batchSize);
      assertEquals(from, next);
      assert(
        [Math.floor(batchSize / virtualWorkers), Math.ceil(batchSize / virtualWorkers)].includes(to - from),
      );
      next = to;
    }
    assertEquals(next, batchSize);
  }
  assertEquals(workerShare(1, 3, 7), { from: 2, to: 4 });
});

Deno.test("describeDeviations() tells what a run does otherwise than its settings say", () => {
  const of = (...overrides: string[]) => describeDeviations(resolveConfig({ overrides }));
  assertEquals(of(), []);
  assertEquals(of("train.batchSize=16", "train.microBatchSize=16", "optimizer.warmup=300 steps"), []);
  assertEquals(of("train.batchSize=16", "train.microBatchSize=17"), [
    "train.microBatchSize is 17, but a batch has 16 sequences: 16 at once",
  ]);
  assertEquals(of("train.batchSize=16", "train.microBatchSize=16", "scale.virtualWorkers=3"), [
    "train.microBatchSize is 16, but a batch has 16 sequences for 3 virtual workers: 6 at once",
  ]);
  assertEquals(of("optimizer.warmup=8001 samples", "train.duration=500 steps", "train.batchSize=16"), [
    "optimizer.warmup (8001 samples) is longer than train.duration (500 steps): " +
    "the learning rate only rises, and never gets to optimizer.learningRate",
  ]);
});
