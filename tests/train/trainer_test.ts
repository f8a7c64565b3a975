import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { StepLine } from "../../src/train/metricsLog.ts";
import type { Validation } from "../../src/train/validate.ts";
import {
  checkpointNames,
  readMetrics,
  readTree,
  tinyConfig,
  tinyDataset,
  tinyRun,
  withFolder,
} from "./tinyRun.ts";

const stepsOf = (lines: Record<string, unknown>[], key: string) =>
  lines.filter((line) => key in line).map((line) => line.step);

Deno.test("runTraining() keeps the last checkpoints", async () => {
  for (const [keep, expected] of [[1, ["7"]], [3, ["5", "6", "7"]]] as const) {
    await withFolder(async (run) => {
      await tinyRun(run, tinyConfig("checkpoint.every=1 steps", `checkpoint.keep=${keep}`));
      assertEquals(checkpointNames(run), expected.map((step) => `step-${step}`));
    });
  }
});

Deno.test("runTraining() keeps the best checkpoint besides, by validation loss", async () => {
  await withFolder(async (run) => {
    // so high a rate that it gets worse after some steps
    const config = tinyConfig(
      "checkpoint.best=true",
      "checkpoint.keep=1",
      "validation.every=1 steps",
      "optimizer.learningRate=1",
      "optimizer.schedule=constant",
    );
    const losses = new Map<number, number>();
    await tinyRun(run, config, { onValidation: (step, { loss }) => void losses.set(step, loss) });
    const best = Math.min(...losses.values());
    const [bestStep] = [...losses].find(([, loss]) => loss === best)!;
    assert(bestStep < 7, "the test needs a best step before the last");
    assertEquals(checkpointNames(run), [`step-${bestStep}`, "step-7"]);
    const state = JSON.parse(Deno.readTextFileSync(join(run, "checkpoints", "step-7", "state.json")));
    assertEquals(state.best, { step: bestStep, loss: best });
  });
});

Deno.test("runTraining() saves by samples and tokens too", async () => {
  // after the steps: 1, 2, 5, 10, 15, 20, 25 samples of 5 tokens
  for (
    const [every, expected] of [["8 samples", ["step-4", "step-6", "step-7"]], ["100 tokens", [
      "step-6",
      "step-7",
    ]]]
  ) {
    await withFolder(async (run) => {
      await tinyRun(run, tinyConfig(`checkpoint.every=${every}`, "checkpoint.keep=9"));
      assertEquals(checkpointNames(run), expected);
    });
  }
});

Deno.test("runTraining() tells steps, validations and samples, and keeps them", async () => {
  await withFolder(async (run) => {
    const lines: StepLine[] = [];
    const validations: [number, Validation][] = [];
    const samples: [number, string][] = [];
    const result = await tinyRun(run, tinyConfig("log.every=3", "log.sampleEvery=4 steps"), {
      onProgress: (line) => lines.push(line),
      onValidation: (...validation) => validations.push(validation),
      onSample: (...sample) => samples.push(sample),
      sampleText: () => Promise.resolve("a bead"),
    });
    assertEquals(lines.map(({ step }) => step), [1, 3, 6, 7]);
    assertEquals(lines.map(({ samples }) => samples), [1, 5, 20, 25]);
    assertEquals(lines.map(({ tokens }) => tokens), [5, 25, 100, 125]);
    assertEquals(lines.at(-1)!.loss, result.finalLoss);
    assertEquals(lines.at(-1)!.etaSeconds, 0);
    assertEquals(validations.map(([step]) => step), [2, 4, 6]);
    assertEquals(validations.map(([, { rows }]) => rows), [3, 3, 3]);
    assertEquals(result.validation?.rows, (await tinyDataset(tinyConfig())).validationRows);
    assertEquals(samples, [[4, "a bead"]]);
    const kept = readMetrics(run);
    assertEquals(stepsOf(kept, "loss"), [1, 3, 6, 7]);
    assertEquals(stepsOf(kept, "validation"), [2, 4, 6]);
    assertEquals(stepsOf(kept, "finalValidation"), [7]);
    assertEquals(Deno.readTextFileSync(join(run, "samples.jsonl")), '{"step":4,"text":"a bead"}\n');
  });
});

Deno.test("runTraining() goes on with a run that is over: a no-op, or more steps if it is to be longer", async () => {
  await withFolder(async (run) => {
    const first = await tinyRun(run, tinyConfig("optimizer.schedule=constant"));
    const lines = readMetrics(run);
    const second = await tinyRun(run, tinyConfig("optimizer.schedule=constant"));
    assertEquals(second, { ...first, finalLoss: null });
    assertEquals(readMetrics(run), lines);
    const longer = tinyConfig("optimizer.schedule=constant", "train.duration=9 steps");
    assertEquals((await tinyRun(run, longer)).digest, (await tinyRun(null, longer)).digest);
  });
});

Deno.test("runTraining() says that a run is past a duration that was made shorter", async () => {
  await withFolder(async (run) => {
    const { digest } = await tinyRun(run, tinyConfig());
    const messages: string[] = [];
    const shorter = tinyConfig("train.duration=5 steps");
    const result = await tinyRun(run, shorter, { onMessage: (text) => messages.push(text) });
    assertEquals(messages, [
      "The run has done 7 steps, more than the 5 of train.duration: there is nothing to do",
    ]);
    assertEquals([result.steps, result.digest], [7, digest]);
  });
});

Deno.test("metrics and events are cut back to the checkpoint that a run goes on from", async () => {
  await withFolder(async (folder) => {
    const config = tinyConfig("log.every=1", "log.tensorboard=true", "checkpoint.every=3 steps");
    const [whole, run] = [join(folder, "whole"), join(folder, "run")];
    await tinyRun(whole, config);
    await tinyRun(run, config, { isPoisoned: (_, step) => step === 6 }).catch(() => {});
    assertEquals(stepsOf(readMetrics(run), "loss"), [1, 2, 3, 4, 5]);
    Deno.writeTextFileSync(join(run, "metrics.jsonl"), '{"step": 6, "lo', { append: true }); // torn
    let first: Record<string, unknown>[] | undefined;
    await tinyRun(run, config, { onAccumulate: () => void (first ??= readMetrics(run)) });
    assertEquals(stepsOf(first!, "loss"), [1, 2, 3]);
    assertEquals(stepsOf(first!, "validation"), [2]);
    assertEquals(readMetrics(run), readMetrics(whole));
    const events = "events.out.tfevents.0.bloomery";
    assertEquals(Deno.statSync(join(run, events)).size, Deno.statSync(join(whole, events)).size);
  });
});

Deno.test("runTraining() throws the reason of a signal that comes before the first step, and leaves all as it was", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    const signal = AbortSignal.abort(new Error("changed my mind"));
    await assertRejects(() => tinyRun(run, tinyConfig(), { signal }), Error, "changed my mind");
    assertEquals([...Deno.readDirSync(folder)], []);
    await tinyRun(run, tinyConfig());
    const before = readTree(run);
    const longer = tinyConfig("train.duration=9 steps");
    await assertRejects(() => tinyRun(run, longer, { signal }), Error, "changed my mind");
    assertEquals({ ...readTree(run), "config.jsonc": null }, { ...before, "config.jsonc": null });
  });
});

Deno.test("runTraining() says when it goes on on another adapter", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig());
    const messages: string[] = [];
    await tinyRun(run, tinyConfig(), { adapter: "other", onMessage: (text) => messages.push(text) });
    assertEquals(messages[0], 'The run was on "fake" and goes on on "other": bits may differ');
  });
});
