import { assert, assertEquals, assertRejects } from "@std/assert";
import { evaluate, generate, loadModel, plan, type RunSettings, train, UserError } from "../../mod.ts";
import { ErrorFeedback } from "../../src/train/errorFeedback.ts";
import { withFolder } from "../train/tinyRun.ts";
import { TEXT, TINY } from "./support.ts";

Deno.test("loadModel(), generate() and evaluate() take a folder, files in memory, or a model", async () => {
  await withFolder(async (folder) => {
    const { files, validation } = await train(TINY, { folder });
    const inMemory = await files();
    const options = { maxTokens: 6, seed: 3 };
    const write = async (from: Parameters<typeof generate>[0]) =>
      (await Array.fromAsync(generate(from, "the ", options))).join("");

    await using model = await loadModel(inMemory);
    assertEquals([model.folder, model.tokenizer?.kind, model.spec.seqLen], [null, "chars", 8]);
    const text = await write(model);
    assertEquals(text.length, 6);
    assertEquals(await write(folder), text);
    assertEquals(await write(inMemory), text);
    assertEquals(await write(model), text); // which was not closed

    const scored = await evaluate(model, { text: TEXT });
    assertEquals(scored.tokens, TEXT.length - 1);
    assertEquals(await evaluate(inMemory, { text: TEXT }), scored);
    assertEquals((await evaluate(folder)).loss, validation!.loss);
    await assertRejects(() => evaluate(inMemory), UserError, "nothing is held out: give a text");
  });
});

Deno.test("loadModel() refuses files in memory that are damaged or don't fit together", async () => {
  const files = await (await train({ ...TINY, train: { batchSize: 3, duration: "1 steps" } })).files();
  const refused = (changes: Partial<typeof files>, message: string) =>
    assertRejects(() => loadModel({ ...files, ...changes }), UserError, message);
  await refused({ "config.json": "{" }, "config.json");
  await refused({ "model.safetensors": files["model.safetensors"].subarray(0, 100) }, "in memory");
  {
    // a tokenizer that is not understood leaves a model for token ids
    await using model = await loadModel({ ...files, "tokenizer.json": "{}" });
    await assertRejects(() => model.generate("a").next(), UserError, "tokenizer.json");
  }
  const { "tokenizer.json": _, ...withoutText } = files;
  await using model = await loadModel(withoutText);
  await assertRejects(() => model.generate("a").next(), UserError, "no tokenizer.json");
  assertEquals((await Array.fromAsync(model.generateTokens([1], { maxTokens: 3 }))).length, 3);
});

Deno.test("plan() tells what training then takes", async () => {
  const planned = await plan(TINY);
  assertEquals(planned.hostBytes, { waiting: 0, rounding: 0, group: null });
  let sumBytes = 0;
  const { dataset } = await train(TINY, {
    onReady: ({ report, totalSteps }) => {
      const { bytes, adapter, isSoftware, microBatchSize, flopsPerToken, sumLength } = report;
      sumBytes = 4 * sumLength;
      assertEquals(planned.bytes, bytes);
      assertEquals([planned.adapter, planned.isSoftware], [adapter, isSoftware]);
      assertEquals([planned.microBatchSize, planned.totalSteps], [microBatchSize, totalSteps]);
      assertEquals(planned.flopsPerStep, flopsPerToken * 3 * 8);
    },
  });
  const { source, trainTokens, validationTokens } = dataset;
  assertEquals(planned.corpus, { source, trainTokens, validationTokens });
  assertEquals(planned.obstacle, null);
  const bytesOfWeights = 4 * planned.parameters;
  assert(planned.bytes.weights >= bytesOfWeights, `${planned.bytes.weights} < ${bytesOfWeights}`);
  const hostBytes = async (scale: RunSettings["scale"], nodes = 1) =>
    (await plan({ ...TINY, scale, engine: { hostSums: true } }, { nodes })).hostBytes;
  const { waiting, rounding } = await hostBytes({ virtualWorkers: 3, wire: "bf16Gather" });
  assertEquals([waiting, rounding], [2 * sumBytes, sumBytes]);
  // in a group a node adds the largest piece of its share by itself
  const ofGroup = [2, 3].map(async (nodes) => (await hostBytes({ virtualWorkers: 3 }, nodes)).waiting);
  assertEquals(await Promise.all(ofGroup), [2 * sumBytes, 0]);
  const kept = 2 * new ErrorFeedback(sumBytes / 4).residual.byteLength;
  assertEquals((await hostBytes({ virtualWorkers: 3, wire: "bf16" })).rounding, sumBytes + kept);
  assertEquals((await hostBytes({ virtualWorkers: 3, wire: "bf16" }, 2)).rounding, kept);
  await assertRejects(() => plan({ ...TINY, data: { text: "" } }), UserError, "is empty");
  // what the tokenizer is going to have is known before it is trained, or the text is read
  const spans = { ...TINY, tokenizer: "bpe", bpeVocabSize: 300, data: "/nowhere" } as const;
  const overrides = ["objective.kind=span", "model.vocabSize=300"];
  for (const refused of [plan({ ...spans, overrides }), train({ ...spans, overrides })]) {
    await assertRejects(() => refused, UserError, "model.vocabSize is 300, expected at least 30");
  }
});
