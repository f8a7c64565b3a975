import { assertAlmostEquals, assertEquals } from "@std/assert";
import { deriveModel } from "../../src/config/deriveModel.ts";
import { summarize, validate } from "../../src/train/validate.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { tinyConfig, tinyDataset } from "./tinyRun.ts";

Deno.test("summarize() gives the mean of a token and the ratio estimator's standard error", () => {
  const equal = summarize([2, 4, 9], [2, 2, 2], 3);
  assertAlmostEquals(equal.loss, 2.5, 1e-12);
  assertAlmostEquals(equal.bitsPerByte, 2.5 / Math.log(2) / 3, 1e-12);
  assertAlmostEquals(equal.perplexity, Math.exp(2.5), 1e-12);
  // rows of one length: the sample standard deviation of row means 1, 2, 4.5 over sqrt(3)
  assertAlmostEquals(equal.standardError, Math.sqrt((1.5 ** 2 + 0.5 ** 2 + 2 ** 2) / 2 / 3), 1e-12);
  const ragged = summarize([3, 1], [1, 3], 1);
  assertEquals(ragged.loss, 1);
  assertAlmostEquals(ragged.standardError, Math.sqrt((2 ** 2 + 2 ** 2) * 2) / 4, 1e-12);
  assertEquals(summarize([3], [1], 1).standardError, NaN);
});

Deno.test("validate() scores every row once, or some spread evenly, whatever the micro-batch", async () => {
  const config = tinyConfig();
  const dataset = await tinyDataset(config);
  const spec = deriveModel(config.model, dataset.tokenizer.vocabSize);
  const all = await Promise.all([1, 3, 100].map(async (microBatchSize) => {
    const engine = fakeEngine(spec, { microBatchSize });
    for (const [name, weights] of engine.weights) {
      await engine.write("weights", name, weights.map((_, i) => Math.sin(i)));
    }
    return { engine, validation: await validate(engine, dataset, Infinity) };
  }));
  const { engine, validation } = all[0];
  for (const other of all) assertEquals(other.validation, validation);
  const { rowLoss, targetCount } = await engine.evaluate(dataset.validationBatch(0, dataset.validationRows));
  assertAlmostEquals(validation!.loss, rowLoss.reduce((sum, x) => sum + x, 0) / targetCount, 1e-6);
  assertEquals([validation!.rows, targetCount], [dataset.validationRows, dataset.validationTokens - 1]);

  const asked: number[] = [];
  const spy = {
    ...dataset,
    validationBatch: (row: number) => (asked.push(row), dataset.validationBatch(row, 1)),
  };
  await validate(engine, spy, 3);
  assertEquals(asked, [
    0,
    Math.floor(dataset.validationRows / 3),
    Math.floor(2 * dataset.validationRows / 3),
  ]);
});

Deno.test("validate() gives null without a held-out part and after an abort", async () => {
  const config = tinyConfig("validation.fraction=0");
  const dataset = await tinyDataset(config);
  const spec = deriveModel(config.model, dataset.tokenizer.vocabSize);
  const engine = fakeEngine(spec, { microBatchSize: 2 });
  assertEquals(await validate(engine, dataset, 3), null);
  const held = await tinyDataset(tinyConfig());
  assertEquals(await validate(engine, held, 3, AbortSignal.abort()), null);
});
