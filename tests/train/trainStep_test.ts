import { assertAlmostEquals, assertEquals, assertStrictEquals } from "@std/assert";
import { join } from "@std/path";
import { deriveModel } from "../../src/config/deriveModel.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { type Step, trainStep } from "../../src/train/trainStep.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { checkpointNames, tinyConfig, tinyDataset, tinyRun, withFolder } from "./tinyRun.ts";

const STEP: Step = { step: 4, learningRate: 0.5, firstSample: 10, batchSize: 5 };

/** An engine that notes what it is told, in order. */
async function spied(config = tinyConfig()): Promise<{ engine: Engine; calls: unknown[] }> {
  const { tokenizer } = await tinyDataset(config);
  const real = fakeEngine(deriveModel(config.model, tokenizer.vocabSize), { microBatchSize: 2 });
  const calls: unknown[] = [];
  const engine: Engine = {
    ...real,
    beginStep: () => (calls.push("begin"), real.beginStep()),
    accumulate: (
      micro,
      step,
    ) => (calls.push([...micro.sampleIds, `step ${step}`]), real.accumulate(micro, step)),
    endWorker: (index) => (calls.push(`worker ${index}`), real.endWorker(index)),
    update: (update) => (calls.push(update), real.update(update)),
  };
  return { engine, calls };
}

Deno.test("trainStep() feeds every worker's share in micro-batches, then updates", async () => {
  const dataset = await tinyDataset(tinyConfig());
  const one = await spied();
  assertEquals(await trainStep(one.engine, dataset, STEP, { virtualWorkers: 1, wire: "f32" }), true);
  const update = { step: 4, learningRate: 0.5 };
  assertEquals(one.calls, [
    "begin",
    [10, 11, "step 4"],
    [12, 13, "step 4"],
    [14, "step 4"],
    "worker 0",
    update,
  ]);
  const three = await spied();
  await trainStep(three.engine, dataset, STEP, { virtualWorkers: 3, wire: "f32" });
  assertEquals(three.calls, [
    "begin",
    [10, "step 4"],
    "worker 0",
    [11, 12, "step 4"],
    "worker 1",
    [13, 14, "step 4"],
    "worker 2",
    update,
  ]);
});

Deno.test("trainStep() ends every worker in order, also those without a share", async () => {
  const { engine, calls } = await spied();
  await trainStep(engine, await tinyDataset(tinyConfig()), { ...STEP, batchSize: 2 }, {
    virtualWorkers: 3,
    wire: "f32",
  });
  assertEquals(calls.filter((call) => String(call).startsWith("worker")), [
    "worker 0",
    "worker 1",
    "worker 2",
  ]);
});

Deno.test("trainStep() drops the step when the signal comes, even at its last micro-batch", async () => {
  const dataset = await tinyDataset(tinyConfig());
  for (const abortAt of [0, 2]) {
    const { engine, calls } = await spied();
    const controller = new AbortController();
    let count = 0;
    const stopping: Engine = {
      ...engine,
      accumulate(micro, step) {
        if (count++ === abortAt) controller.abort();
        return engine.accumulate(micro, step);
      },
    };
    assertEquals(
      await trainStep(stopping, dataset, STEP, { virtualWorkers: 1, wire: "f32" }, controller.signal),
      false,
    );
    assertEquals(calls.filter((call) => call instanceof Object && "learningRate" in call), []);
  }
});

Deno.test("runTraining() does not wait for a micro-batch, or a validation, that has no end", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig("checkpoint.every=null");
    const [stop, again] = [new AbortController(), new AbortController()];
    /** Ends with the signal, which comes once it has begun. */
    const endless = (controller: AbortController, signal?: AbortSignal) =>
      new Promise<void>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
        controller.abort();
      });
    const onAccumulate = (_: unknown, step: number, signal?: AbortSignal) =>
      step === 4 ? endless(stop, signal) : undefined;
    const { steps, interrupted } = await tinyRun(run, config, { signal: stop.signal, onAccumulate });
    assertEquals([steps, interrupted, checkpointNames(run)], [3, true, ["step-3"]]);

    const onEvaluate = (signal?: AbortSignal) => endless(again, signal);
    const second = await tinyRun(run, config, { signal: again.signal, onEvaluate });
    assertEquals([second.steps, second.interrupted, checkpointNames(run)], [4, true, ["step-3", "step-4"]]);
    assertEquals((await tinyRun(run, config)).digest, (await tinyRun(null, config)).digest);
  });
});

Deno.test("runTraining() has nothing to save while no step was applied: it throws the signal's reason", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    const stop = new AbortController();
    const onAccumulate = () => stop.abort();
    const error = await tinyRun(run, tinyConfig(), { signal: stop.signal, onAccumulate }).catch((error) =>
      error
    );
    assertStrictEquals(error, stop.signal.reason);
    assertEquals([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("runTraining() follows ramp-up and schedule", async () => {
  const config = tinyConfig("optimizer.learningRate=0.1", "optimizer.minLearningRate=0.01");
  const { engine, calls } = await spied(config);
  await tinyRun(null, config, { engine });
  const updates = calls.filter((call) => call instanceof Object && "learningRate" in call) as Step[];
  assertEquals(updates.map(({ step }) => step), [1, 2, 3, 4, 5, 6, 7]);
  assertEquals(updates.map(({ step }) => step), [1, 2, 3, 4, 5, 6, 7]);
  const expected = [1, 2, 3, 4, 5, 6, 7].map((s) =>
    s <= 2 ? 0.1 * s / 2 : 0.01 + 0.09 * (1 + Math.cos(Math.PI * (s - 2) / 5)) / 2
  );
  updates.forEach(({ learningRate }, i) => assertAlmostEquals(learningRate, expected[i], 1e-15));
  const samples = calls.filter(Array.isArray).map((call) => call.slice(0, -1)).flat();
  assertEquals(samples, Array.from({ length: 25 }, (_, i) => i));
});
