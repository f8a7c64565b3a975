import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { deriveRun } from "../../src/config/derive.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import { learningRateAt } from "../../src/train/schedule.ts";

/** Learning rates 1e-3 to 1e-4, batches of 4 samples of 8 tokens, ten steps. */
function runOf(...overrides: string[]) {
  const sizes = ["train.batchSize=4", "model.seqLen=8", "train.duration=10"];
  const rates = ["optimizer.learningRate=1e-3", "optimizer.minLearningRate=1e-4", "optimizer.warmup=3"];
  return deriveRun(resolveConfig({ overrides: [...sizes, ...rates, ...overrides] }));
}

/** The learning rates of steps 1 to `steps`. */
function rates(steps: number, ...overrides: string[]): number[] {
  const run = runOf(...overrides);
  return Array.from({ length: steps }, (_, i) => learningRateAt(run.optimizer, run.progressAt(i + 1)));
}

function assertRates(actual: number[], expected: number[]) {
  assertEquals(actual.length, expected.length);
  for (const [i, rate] of expected.entries()) assertAlmostEquals(actual[i], rate, 1e-12, `step ${i + 1}`);
}

/** Steps 1 and 2; step 3 has the full rate. */
const WARMUP = [1e-3 / 3, 2e-3 / 3];

const COSINE = Array.from({ length: 12 }, (_, i) => {
  const s = i + 1;
  if (s <= 3) return 1e-3 * s / 3;
  return s >= 10 ? 1e-4 : 1e-4 + (1e-3 - 1e-4) * 0.5 * (1 + Math.cos(Math.PI * (s - 3) / 7));
});

Deno.test("learningRateAt() follows the reference's warm-up and cosine, then stays at the minimum", () => {
  assertRates(rates(12, "optimizer.schedule=cosine"), COSINE);
});

Deno.test("learningRateAt() measures warm-up and decay in steps, samples and tokens alike", () => {
  for (const warmup of ["3 steps", "12 samples", "96 tokens"]) {
    for (const decay of ["10 steps", "40 samples", "320 tokens"]) {
      const length = [`optimizer.warmup=${warmup}`, `optimizer.decay=${decay}`, "train.duration=99"];
      assertRates(rates(12, ...length), COSINE);
    }
  }
});

Deno.test("learningRateAt() measures samples exactly, also within a step", () => {
  const [first, second, third] = rates(
    3,
    "optimizer.schedule=linear",
    "optimizer.warmup=6 samples",
    "optimizer.decay=40 samples",
  );
  assertAlmostEquals(first, 1e-3 * 4 / 6, 1e-12);
  assertAlmostEquals(second, 1e-4 + 9e-4 * (1 - 2 / 34), 1e-12);
  assertAlmostEquals(third, 1e-4 + 9e-4 * (1 - 6 / 34), 1e-12);
});

Deno.test("learningRateAt() falls along a line", () => {
  const down = [7, 6, 5, 4, 3, 2, 1, 0, 0].map((left) => 1e-4 + 9e-4 * left / 7);
  assertRates(rates(11, "optimizer.schedule=linear"), [...WARMUP, ...down]);
});

Deno.test("learningRateAt() stays constant", () => {
  assertRates(rates(12, "optimizer.schedule=constant"), [...WARMUP, ...Array(10).fill(1e-3)]);
});

Deno.test("learningRateAt() falls with the inverse square root down to the minimum", () => {
  const run = runOf("optimizer.schedule=inverseSqrt");
  const at = (step: number) => learningRateAt(run.optimizer, run.progressAt(step));
  assertAlmostEquals(at(2), 1e-3 * 2 / 3, 1e-12);
  assertAlmostEquals(at(3), 1e-3, 1e-12);
  assertAlmostEquals(at(12), 1e-3 / 2, 1e-12);
  assertAlmostEquals(at(298), 1e-3 * Math.sqrt(3 / 298), 1e-12);
  assertEquals(at(301), 1e-4);
});

Deno.test("learningRateAt() warms up, stays, and falls in the last part with wsd", () => {
  const fifth = [...WARMUP, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 5.5e-4, 1e-4, 1e-4];
  assertRates(rates(11, "optimizer.schedule=wsd"), fifth);
  const three = [...WARMUP, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 7e-4, 4e-4, 1e-4, 1e-4];
  assertRates(rates(11, "optimizer.schedule=wsd", "optimizer.decay=3 steps"), three);
  assertRates(rates(11, "optimizer.schedule=wsd", "optimizer.decay=12 samples"), three);
});

Deno.test("learningRateAt() starts at the full rate without a warm-up", () => {
  assertRates(rates(2, "optimizer.warmup=0", "optimizer.schedule=linear"), [9.1e-4, 8.2e-4]);
  assertRates(rates(2, "optimizer.warmup=0", "optimizer.schedule=constant"), [1e-3, 1e-3]);
});

Deno.test("learningRateAt() never leaves the warm-up of a run that is shorter", () => {
  assertRates(rates(2, "train.duration=2"), WARMUP);
});

Deno.test("learningRateAt() is continuous where the units differ and the batch grows", () => {
  const run = runOf(
    "train.batchSize=32",
    'train.rampUp={"start":1,"increment":1,"samples":900}',
    "train.duration=200",
    "optimizer.warmup=100 samples",
    "optimizer.decay=200 steps",
  );
  const values = Array.from({ length: 200 }, (_, i) => learningRateAt(run.optimizer, run.progressAt(i + 1)));
  const top = values.indexOf(Math.max(...values));
  for (let i = 1; i < values.length; i++) assertEquals(values[i] > values[i - 1], i <= top, `step ${i + 1}`);
  assertEquals(values.at(-1), 1e-4);
});

Deno.test("deriveRun() refuses rates that don't fit together", () => {
  assertThrows(
    () => runOf("optimizer.minLearningRate=2e-3"),
    UserError,
    "optimizer.minLearningRate is 0.002",
  );
  assertThrows(
    () => runOf("optimizer.schedule=inverseSqrt", "optimizer.warmup=0"),
    UserError,
    "optimizer.warmup is 0",
  );
});
