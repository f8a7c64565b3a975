import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { Batch } from "../../src/data/batch.ts";
import { UserError } from "../../src/errors.ts";
import {
  checkpointNames,
  readMetrics,
  readTree,
  tinyConfig,
  type TinyOptions,
  tinyRun,
  withFolder,
} from "./tinyRun.ts";

// Batches of tinyConfig(), by sample: 0 | 1 | 2-4 | 5-9 | 10-14 | 15-19 | 20-24
const contains = (sample: number) => (micro: Batch) => micro.sampleIds.includes(sample);

/** Notes the samples that each step reads; a step that is done again counts from its last time on. */
function recorder(): { samples: Map<number, number[]>; onAccumulate: TinyOptions["onAccumulate"] } {
  const samples = new Map<number, number[]>();
  return {
    samples,
    onAccumulate: ({ sampleIds }, step) => void samples.set(step, [...samples.get(step) ?? [], ...sampleIds]),
  };
}

function readState(run: string): Record<string, unknown> {
  return JSON.parse(Deno.readTextFileSync(join(run, "checkpoints", "step-7", "state.json")));
}

Deno.test("policy stop ends with the step, what was found and where to go on; checkpoints are kept", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    const error = await assertRejects(
      () => tinyRun(run, config, { isPoisoned: (_, step) => step === 5 }),
      UserError,
    );
    assert(
      error.message.startsWith("Step 5 has loss NaN and gradient norm ") &&
        error.message.includes(`from=${run} and a lower optimizer.learningRate`) &&
        error.message.endsWith("train.nonFinite=skip or rollback: it goes on from step 3"),
      error.message,
    );
    // as it says, with the run as it is
    const skipping = tinyConfig("train.nonFinite=skip", "train.skippedStepCounts=false");
    const isPoisoned: TinyOptions["isPoisoned"] = contains(12);
    const expected = await tinyRun(null, skipping, { isPoisoned });
    assertEquals((await tinyRun(run, skipping, { isPoisoned })).digest, expected.digest);
  });
});

Deno.test("policy skip leaves the step's update out, and the steps queued behind it are done again", async () => {
  const config = tinyConfig("train.nonFinite=skip", "log.every=7", "validation.every=null");
  const plain = recorder();
  const skipped = recorder();
  const expected = await tinyRun(null, config, { onAccumulate: plain.onAccumulate });
  const result = await tinyRun(null, config, {
    isPoisoned: (_, step) => step === 4,
    onAccumulate: skipped.onAccumulate,
  });
  assertEquals(result.steps, 7);
  assertNotEquals(result.digest, expected.digest);
  assertEquals(skipped.samples.get(4), plain.samples.get(4));
  for (const step of [5, 6, 7]) {
    // once behind the failed step, once more after it
    assertEquals(new Set(skipped.samples.get(step)), new Set(plain.samples.get(step)), `step ${step}`);
  }
  const alone = await tinyRun(null, tinyConfig("train.nonFinite=skip", "log.every=1"), {
    isPoisoned: (_, step) => step === 4,
  });
  assertEquals(result.digest, alone.digest, "the log interval must not change a bit");
});

Deno.test("what rounding has lost in a skipped step, or in one queued behind it, goes to no other step", async () => {
  const isPoisoned: TinyOptions["isPoisoned"] = (_, step) => step === 4; // the loss alone: its gradients are finite
  const config = (every: number) =>
    tinyConfig(
      "train.nonFinite=skip",
      "scale.wire=bf16",
      `log.every=${every}`,
      "validation.every=null",
      "checkpoint.every=null",
    );
  const [often, seldom] = [
    await tinyRun(null, config(1), { isPoisoned }),
    await tinyRun(null, config(7), { isPoisoned }),
  ];
  assertEquals(seldom.digest, often.digest, "the log interval must not change a bit");
  await withFolder(async (run) => {
    const saving = tinyConfig(
      "train.nonFinite=skip",
      "scale.wire=bf16",
      "checkpoint.every=1 steps",
      "checkpoint.keep=9",
    );
    await tinyRun(run, saving, { isPoisoned });
    const [third, fourth, fifth] = [3, 4, 5].map((step) =>
      Deno.readFileSync(join(run, "checkpoints", `step-${step}`, "residual.safetensors"))
    );
    assertEquals(fourth, third);
    assertNotEquals(fifth, fourth);
  });
});

Deno.test("a skipped step that doesn't count is done again with the next batch", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig("train.nonFinite=skip", "train.skippedStepCounts=false", "log.every=1");
    const { samples, onAccumulate } = recorder();
    const result = await tinyRun(run, config, { isPoisoned: contains(3), onAccumulate });
    assertEquals(result.steps, 7);
    assertEquals(samples.get(3), [2, 3, 4, 5, 6, 7]);
    const all = [...samples.values()].flat();
    assertEquals(all, all.toSorted((a, b) => a - b), "every sample is read once, in order");
    assertEquals(readState(run).sampleOffset, 3);
    assertEquals(readMetrics(run).filter((line) => "loss" in line).map((line) => line.step), [
      1,
      2,
      3,
      4,
      5,
      6,
      7,
    ]);
  });
});

Deno.test("policy rollback goes back to the last checkpoint and on with the data after the failed batch", async () => {
  await withFolder(async (folder) => {
    const config = tinyConfig("train.nonFinite=rollback", "log.every=1");
    const plain = recorder();
    await tinyRun(null, tinyConfig(), { onAccumulate: plain.onAccumulate });
    const poisoned = plain.samples.get(5)!;
    const seen: [number, number][] = [];
    const options: TinyOptions = {
      isPoisoned: contains(poisoned[1]),
      onAccumulate: ({ sampleIds }, step) => void seen.push([step, sampleIds[0]]),
    };
    const run = join(folder, "run");
    const result = await tinyRun(run, config, options);
    const failed = seen.findIndex(([step, first]) => step === 5 && first === poisoned.at(-1));
    assertEquals(seen[failed + 1], [4, poisoned.at(-1)! + 1], "from step 3, with the next sample");
    assertEquals(result.steps, 7);
    assertEquals(readState(run).sampleOffset, poisoned.at(-1)! + 1 - plain.samples.get(4)![0]);
    assertEquals(readMetrics(run).filter((line) => "loss" in line).map((line) => line.step), [
      1,
      2,
      3,
      4,
      5,
      6,
      7,
    ]);

    // wherever it is stopped after its first step, also right after the rollback, it comes to the same
    for (let stopped = 3; stopped <= seen.length; stopped += 2) {
      const part = join(folder, `stopped-${stopped}`);
      const controller = new AbortController();
      let count = 0;
      await tinyRun(part, config, {
        ...options,
        signal: controller.signal,
        onAccumulate: () => ++count === stopped ? controller.abort() : undefined,
      });
      assertEquals((await tinyRun(part, config, options)).digest, result.digest, `stopped at ${stopped}`);
      const last = join("checkpoints", "step-7");
      assertEquals(readTree(join(part, last)), readTree(join(run, last)));
    }
  });
});

Deno.test("a rollback is the same where other checkpoints were saved between, and they go", async () => {
  await withFolder(async (folder) => {
    const config = tinyConfig("train.nonFinite=rollback", "checkpoint.keep=1");
    const run = join(folder, "run");
    const options: TinyOptions = { isPoisoned: contains(16) }; // in step 6
    const expected = await tinyRun(join(folder, "whole"), config, options);
    for (const stopped of [5, 6]) { // saves steps 4 and 5 besides 3
      const controller = new AbortController();
      await tinyRun(run, config, {
        signal: controller.signal,
        onAccumulate: (_, step) => step === stopped ? controller.abort() : undefined,
      });
    }
    assertEquals(checkpointNames(run), ["step-3", "step-5"]);
    const afterwards: string[][] = [];
    const result = await tinyRun(run, config, {
      ...options,
      onAccumulate: (_, step) => void (step === 4 && afterwards.push(checkpointNames(run))),
    });
    assertEquals(afterwards[0], ["step-3"]);
    assertEquals(result.digest, expected.digest);
  });
});

Deno.test("policy rollback starts from the first step where nothing else was saved, and needs a folder", async () => {
  const config = tinyConfig("train.nonFinite=rollback", "checkpoint.every=null");
  await withFolder(async (run) => {
    const { samples, onAccumulate } = recorder();
    await tinyRun(run, config, { isPoisoned: contains(3), onAccumulate });
    assertEquals(samples.get(1), [0, 5]);
  });
  const error = await assertRejects(() => tinyRun(null, config), UserError);
  assert(error.message.includes("nothing is saved without a run folder"), error.message);
});

for (const policy of ["skip", "rollback"]) {
  for (const counts of [true, false]) {
    Deno.test(`policy ${policy} gives up when nothing helps, counting ${counts}`, async () => {
      await withFolder(async (run) => {
        const config = tinyConfig(
          `train.nonFinite=${policy}`,
          `train.skippedStepCounts=${counts}`,
          "train.duration=50 steps",
        );
        const error = await assertRejects(
          () => tinyRun(run, config, { isPoisoned: (_, step) => step >= 5 }),
          UserError,
        );
        assert(error.message.includes("so had the 10 tries before"), error.message);
      });
    });
  }
}

Deno.test("metrics hold mean loss, its bits per byte and the z-loss", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig());
    const [first] = readMetrics(run) as { loss: number; bitsPerByte: number; zLoss: number }[];
    assertAlmostEquals(first.loss, Math.log(7), 0.01); // 7 characters, small weights
    assertAlmostEquals(first.bitsPerByte, first.loss / Math.LN2, 1e-12);
    assertAlmostEquals(first.zLoss, 0.01 * Math.log(7) ** 2, 0.001);
  });
});
