import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { countTargets, sliceBatch } from "../../src/data/batch.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { STAGING_BYTES } from "../../src/gpu/staging.ts";
import { RetryError, UserError } from "../../src/errors.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { planEngine } from "../../src/engine/plan.ts";
import { openWorkerEngine } from "../../src/engine/workerEngine.ts";
import { EXACT_VALUES } from "../../src/train/bf16.ts";
import { bindingCap, testGpu } from "../_gpu.ts";
import { deviceWith } from "./_device.ts";
import {
  fill,
  MODEL,
  openTiny,
  stateDigest,
  stepOn,
  threeSteps,
  tinyBatch,
  tinySpec,
  tinyWeights,
  TRAINING,
} from "./tiny.ts";

function oneStep(engine: Engine, step: number, learningRate?: number): Promise<void> {
  return stepOn(engine, tinyBatch(3 * step, 3), step, learningRate);
}

Deno.test("update() halts on NaN and changes nothing until clearHalt()", async () => {
  const engine = await openTiny(tinySpec());
  await oneStep(engine, 1);
  const good = await engine.read("weights", "final_norm.bias");
  const bad = good.slice();
  bad[3] = NaN;
  await engine.write("weights", "final_norm.bias", bad);
  const before = await stateDigest(engine);
  await oneStep(engine, 2);
  await engine.write("weights", "final_norm.bias", good);
  await oneStep(engine, 3); // finite again, but the host has not decided yet
  assertEquals((await engine.metrics()).map(({ step, halted }) => [step, halted]), [[1, false], [2, true], [
    3,
    true,
  ]]);
  await engine.write("weights", "final_norm.bias", bad);
  assertEquals(await stateDigest(engine), before);

  await engine.write("weights", "final_norm.bias", good);
  const kept = await stateDigest(engine);
  await engine.clearHalt();
  await oneStep(engine, 4);
  assertEquals((await engine.metrics()).map(({ step, halted }) => [step, halted]), [[4, false]]);
  assertNotEquals(await stateDigest(engine), kept);
  await engine.close();
});

Deno.test("accumulate() and evaluate() end at a signal, and the step can be done again to the same bits", async () => {
  const { device } = await testGpu();
  let onWait = () => {};
  const queue = new Proxy(device.queue, {
    get(target, key) {
      if (key === "onSubmittedWorkDone") onWait();
      const member = Reflect.get(target, key, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const engine = await openTiny(tinySpec(), { device: await deviceWith({ queue }) });
  const whole = await openTiny(tinySpec());
  const stop = new AbortController();
  const { signal } = stop;
  const assertStopped = async (call: Promise<unknown>) =>
    assertStrictEquals(await call.catch((error) => error), signal.reason);
  await engine.beginStep();
  onWait = () => stop.abort(); // the work is on its way: an engine that is new waits for the first
  await assertStopped(engine.accumulate(tinyBatch(0, 3), 1, signal));
  onWait = () => {};
  await assertStopped(engine.accumulate(tinyBatch(0, 3), 1, signal));
  await assertStopped(engine.evaluate(tinyBatch(0, 1), signal));
  for (const each of [engine, whole]) await oneStep(each, 1);
  assertEquals(await stateDigest(engine), await stateDigest(whole));
  await engine.close();
  await whole.close();

  const worker = await openWorkerEngine(tinySpec());
  await fill(worker);
  const other = new AbortController();
  await worker.beginStep();
  const call = worker.accumulate(tinyBatch(0, 3), 1, other.signal);
  other.abort();
  assertStrictEquals(await call.catch((error) => error), other.signal.reason);
  await oneStep(worker, 1);
  assertEquals((await worker.metrics()).length, 1);
  await worker.close();
});

Deno.test("update() halts on an infinite gradient, too", async () => {
  const engine = await openTiny(tinySpec());
  const name = "blocks.1.mlp.down.weight";
  await engine.write("weights", name, tinyWeights(engine.report).get(name)!.map((value) => value * 1e38));
  const before = await stateDigest(engine);
  await oneStep(engine, 1);
  const [{ halted }] = await engine.metrics();
  assert(halted);
  assertEquals(await stateDigest(engine), before);
  await engine.close();
});

Deno.test("update() halts on a loss that is not finite, whatever the gradients", async () => {
  const engine = await openTiny(tinySpec());
  const before = await stateDigest(engine);
  for (const [step, loss] of [NaN, Infinity].entries()) {
    await engine.beginStep();
    await engine.accumulate(tinyBatch(0, 3), step + 1);
    await engine.endWorker(0);
    const sum = await engine.readSum();
    const at = sum.length - EXACT_VALUES; // of the sum of the losses
    await engine.writeSum(sum.with(at, loss));
    await engine.update({ step: step + 1, learningRate: 0.01 });
    const [{ lossSum, gradNorm, halted }] = await engine.metrics();
    assertEquals([lossSum, Number.isFinite(gradNorm), halted], [loss, true, true]);
    await engine.clearHalt();
  }
  assertEquals(await stateDigest(engine), before);
  await engine.close();
});

Deno.test("metrics() has every step in order, also of more steps than the ring holds", async () => {
  const engine = await openTiny(tinySpec({ training: { virtualWorkers: 1 } }));
  const updates = 2 * 256 + 7;
  await oneStep(engine, 1);
  for (let step = 2; step <= updates; step++) await engine.update({ step, learningRate: 0 });
  const results = await engine.metrics();
  assertEquals(results.map(({ step }) => step), Array.from({ length: updates }, (_, i) => i + 1));
  assertEquals(new Set(results.map(({ gradNorm }) => gradNorm)).size, 1);
  assertEquals(await engine.metrics(), []);
  await oneStep(engine, updates + 1);
  assertEquals((await engine.metrics()).map(({ step }) => step), [updates + 1]);
  await engine.close();
});

Deno.test("report.bytes is what is allocated, and what planEngine() says before", async () => {
  const model = { modelDim: 64, headDim: 16, ffnDim: 256, vocabSize: 300, seqLen: 48 };
  for (const training of [{}, { recompute: true, virtualWorkers: 5 }]) {
    const spec = tinySpec({ model, training, microBatchSize: 5 });
    const { device } = await testGpu();
    const planned = await planEngine(spec, { device, maxBinding: bindingCap() });
    const engine = await openTiny(spec);
    const { bytes } = engine.report;
    assertEquals(planned.bytes, bytes);
    assertEquals(planned.parameters, engine.report.parameters);
    const copies = Math.min(Math.max(bytes.weights, bytes.moments), STAGING_BYTES);
    const measured = engine.allocatedBytes + copies;
    assertAlmostEquals(bytes.total, measured, 0.1 * measured);
    assertEquals(bytes.weights + bytes.gradients + bytes.moments + bytes.activations, bytes.total);
    const count = engine.report.parameters.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b), 0);
    assert(bytes.weights >= 4 * count && bytes.weights < 4.4 * count);
    await engine.close();
  }
});

Deno.test("accumulate() refuses a batch that does not fit, and the engine goes on", async () => {
  const engine = await openTiny(tinySpec());
  const batch = tinyBatch(0, 3);
  await engine.beginStep();
  const wrong: [string, ReturnType<typeof tinyBatch>][] = [
    ["A batch of 4 x 7 does not fit the engine's 3 x 7", tinyBatch(0, 4)],
    ["A batch of 3 x 6 does not fit the engine's 3 x 7", tinyBatch(0, 3, { ...MODEL, seqLen: 6 })],
    ["Token id 11 is outside the vocabulary of 11", { ...batch, inputs: batch.inputs.with(4, 11) }],
    ["Token id -1 is outside the vocabulary of 11", { ...batch, inputs: batch.inputs.with(4, -1) }],
    ["Target 11 is outside the vocabulary of 11", { ...batch, targets: batch.targets.with(4, 11) }],
    ["Target -2 is outside the vocabulary of 11", { ...batch, targets: batch.targets.with(4, -2) }],
  ];
  for (const [message, each] of wrong) {
    await assertRejects(() => engine.accumulate(each, 1), Error, message);
    await assertRejects(() => engine.logits(each), Error, message);
  }
  await engine.accumulate(batch, 1);
  await engine.endWorker(0);
  await engine.update({ step: 1, learningRate: 0.01 });
  const [{ targetCount, halted }] = await engine.metrics();
  assertEquals([targetCount, halted], [countTargets(batch), false]);
  await engine.close();
});

Deno.test("a step without any target leaves finite results and weights", async () => {
  const engine = await openTiny(
    tinySpec({ training: { optimizer: { ...TRAINING.optimizer, weightDecay: 0 } } }),
  );
  const before = await engine.read("weights", "tok_emb");
  const batch = tinyBatch(0, 2);
  await stepOn(engine, { ...batch, targets: batch.targets.map(() => -100) }, 1);
  const [{ lossSum, targetCount, gradNorm, halted }] = await engine.metrics();
  assertEquals([lossSum, targetCount, gradNorm, halted], [0, 0, 0, false]);
  assertEquals(await engine.read("weights", "tok_emb"), before);
  await engine.close();
});

Deno.test("evaluate() sums each row's losses, whatever the batch's size, and disturbs no step", async () => {
  const engine = await openTiny(tinySpec({ model: { dropout: 0.1, attentionDropout: 0.1 } }));
  const all = tinyBatch(0, 7); // more rows than a micro-batch has
  const { rowLoss, targetCount } = await engine.evaluate(all);
  assertEquals(targetCount, countTargets(all));
  const logits = await engine.logits(sliceBatch(all, 0, 3)); // (3 * T, V)
  const V = MODEL.vocabSize;
  for (let row = 0; row < 3; row++) {
    let loss = 0;
    for (let at = row * all.columns; at < (row + 1) * all.columns; at++) {
      if (all.targets[at] < 0) continue;
      const of = [...logits.subarray(at * V, (at + 1) * V)];
      loss += Math.log(of.reduce((sum, logit) => sum + Math.exp(logit), 0)) - of[all.targets[at]];
    }
    assertAlmostEquals(rowLoss[row], loss, 1e-5 * loss);
  }
  for (let row = 0; row < 7; row++) {
    assertEquals((await engine.evaluate(sliceBatch(all, row, row + 1))).rowLoss[0], rowLoss[row]);
  }

  const results = [];
  for (const isDisturbed of [false, true]) {
    await engine.beginStep();
    await engine.accumulate(tinyBatch(0, 3), 1);
    if (isDisturbed) {
      await engine.evaluate(all);
      await engine.logits(tinyBatch(1, 2));
      await engine.next(all.inputs.slice(0, 3), 0);
    }
    await engine.accumulate(tinyBatch(3, 3), 1);
    await engine.endWorker(0);
    await engine.update({ step: 1, learningRate: 0 });
    results.push(await engine.metrics());
  }
  assertEquals(results[1], results[0]);
  await engine.close();
});

Deno.test("next() with a cache finds the logits of the whole row, in portions of any length", async () => {
  const model = { ...MODEL, seqLen: 80, numKvHeads: 2 }; // longer than what goes through at once
  const engine = await openTiny(tinySpec({ model, microBatchSize: 1 }));
  const batch = tinyBatch(0, 1, model);
  const V = model.vocabSize;
  const whole = await engine.logits(batch); // (80, V)
  for (const portions of [[80], [1, 1, 1, 5, 72], [65, 14, 1], [3, 64, 13]]) {
    let start = 0;
    for (const length of portions) {
      const found = await engine.next(batch.inputs.slice(start, start + length), start);
      start += length;
      const wanted = whole.subarray((start - 1) * V, start * V);
      wanted.forEach((b, i) => assertAlmostEquals(found[i], b, 2e-5 + 2e-5 * Math.abs(b)));
    }
  }
  await assertRejects(() => engine.next(batch.inputs.slice(0, 2), 79), Error, "outside 1 to 80");
  await assertRejects(() => engine.next(new Int32Array(0), 3), Error, "outside 1 to 80");
  await engine.close();
});

Deno.test("an engine that does not train says so", async () => {
  const spec = { ...tinySpec(), training: null };
  const { device } = await testGpu();
  const engine = await openLocalEngine(spec, { device });
  await fill(engine);
  assertEquals(engine.report.bytes.moments, 0);
  assertEquals(engine.report.bytes.gradients, 0);
  assert((await engine.evaluate(tinyBatch(0, 1))).rowLoss[0] > 0);
  await assertRejects(() => engine.accumulate(tinyBatch(0, 1), 1), Error, "does not train");
  await assertRejects(() => engine.update({ step: 1, learningRate: 0 }), Error, "does not train");
  await assertRejects(() => engine.read("optimizer", "tok_emb.moment1"), Error, "does not train");
  await engine.close();
});

Deno.test("write() and read() name a parameter that does not exist", async () => {
  const engine = await openTiny(tinySpec());
  await assertRejects(
    () => engine.read("weights", "blocks.2.norm1.weight"),
    Error,
    "No tensor blocks.2.norm1.weight",
  );
  await assertRejects(
    () => engine.write("weights", "tok_emb", new Float32Array(3)),
    Error,
    "tok_emb: expected 132 values, found 3",
  );
  await engine.close();
});

Deno.test("openLocalEngine() tells what does not fit the adapter", async () => {
  const { device } = await testGpu();
  const spec = tinySpec({ model: { ffnDim: 5000 } });
  await assertRejects(
    () => openLocalEngine(spec, { device, maxBinding: 16384 }),
    UserError,
    "A row of 20000 bytes does not fit a binding of 16384 bytes: choose a smaller model",
  );
});

Deno.test("an engine whose device is destroyed asks to start again", async () => {
  const { device } = await openGpu();
  const engine = await openLocalEngine(tinySpec(), { device });
  await oneStep(engine, 1);
  device.destroy();
  await device.lost;
  await assertRejects(() => engine.metrics(), RetryError, "The GPU was lost");
  await assertRejects(() => engine.accumulate(tinyBatch(0, 1), 2), RetryError, "The GPU was lost");
  await engine.close();
});

Deno.test("openWorkerEngine() passes on errors as what they are, progress and the report", async () => {
  const spec = tinySpec();
  const progress: [number, number][] = [];
  const engine = await openWorkerEngine(spec, { onCompile: (done, total) => progress.push([done, total]) });
  const local = await openTiny(spec);
  assertEquals({ ...engine.report, startup: null }, { ...local.report, startup: null });
  const [first, last] = [progress[0], progress.at(-1)!];
  assertEquals([first[0], last[0]], [0, last[1]]);
  assert(last[1] > 10, `${last[1]} kernels`);
  await fill(engine);
  await assertRejects(() => engine.accumulate(tinyBatch(0, 4), 1), Error, "A batch of 4 x 7 does not fit");
  await threeSteps(engine);
  assertEquals((await engine.metrics()).map(({ step }) => step), [1, 2, 3]);
  await engine.close();
  await local.close();

  const large = tinySpec({ model: { ffnDim: 5000 } });
  await assertRejects(
    () => openWorkerEngine(large, { maxBinding: 16384 }),
    UserError,
    "choose a smaller model",
  );
});
