import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadModel, type RunSettings, train, UserError } from "../../mod.ts";
import { testGpu } from "../_gpu.ts";
import { TEXT, TINY } from "../api/support.ts";
import { withFolder } from "../train/tinyRun.ts";

/** A run of `TINY`'s steps with another objective and architecture. */
function settings(
  architecture: "causalDecoder" | "nonCausalDecoder" | "encoderDecoder",
  kind: "causal" | "prefix" | "span",
  positions: "learned" | "alibi" | "t5" | "rotary" = "learned",
): RunSettings {
  return {
    ...TINY,
    model: { ...TINY.model, architecture, positions },
    objective: { kind },
    log: { ...TINY.log, sampleEvery: "2 steps", samplePrompt: "the ", sampleTokens: 9 },
  };
}

const RUNS = [
  settings("causalDecoder", "prefix", "alibi"),
  settings("causalDecoder", "span"),
  settings("nonCausalDecoder", "prefix"),
  settings("nonCausalDecoder", "span", "rotary"),
  settings("encoderDecoder", "causal"),
  settings("encoderDecoder", "prefix", "t5"),
  settings("encoderDecoder", "span", "alibi"),
];

for (const run of RUNS) {
  const name = `${run.model?.architecture} with objective ${run.objective?.kind}`;
  Deno.test(`a run of ${name} writes samples, is evaluated and generates`, async () => {
    const { device } = await testGpu();
    await withFolder(async (folder) => {
      const samples: string[] = [];
      const onSample = (_step: number, text: string) => samples.push(text);
      const { validation, sample } = await train(run, { folder, device, onSample, finalPrompt: "the " });
      assertEquals(samples.length, 2);
      for (const text of [...samples, sample!]) {
        assert(text.startsWith("the ") && text.length <= 13, text);
      }

      await using model = await loadModel(folder, { device });
      assertEquals((await model.evaluate()).loss, validation!.loss);
      const scored = await model.evaluate({ text: TEXT });
      assert(scored.tokens > 0 && Number.isFinite(scored.bitsPerByte), "a text is scored");
      assertEquals(await model.evaluate({ tokens: model.tokenizer!.encode(TEXT) }), scored);
      const write = async (prompt: string) =>
        (await Array.fromAsync(model.generate(prompt, { maxTokens: 30, seed: 6 }))).join("");
      const text = await write("the cat sat on the mat");
      assert(text.length > 0 && text.length <= 30, text);
      assertEquals(await write("the cat sat on the mat"), text);
      await write(""); // from a line end
    });
  });
}

Deno.test("loadModel() opens longer and shorter contexts where positions allow them", async () => {
  const { device } = await testGpu();
  await withFolder(async (folder) => {
    const { validation } = await train(settings("causalDecoder", "causal", "alibi"), { folder, device });
    await using trained = await loadModel(folder, { device });
    const { loss, tokens, rows } = await trained.evaluate();
    assertEquals(loss, validation!.loss);
    for (const contextLength of [3, 65]) {
      await using model = await loadModel(folder, { device, contextLength });
      assertEquals([model.report.columns, model.spec.seqLen], [contextLength, 8]);
      const found = await model.evaluate();
      assertEquals([found.tokens, found.rows], [tokens, Math.ceil(tokens / contextLength)]);
      assert(found.rows !== rows && found.loss !== loss);
      assertAlmostEquals(found.loss, loss, 0.3);
      const ids = await Array.fromAsync(model.generateTokens([1, 2, 3, 4], { maxTokens: 70 }));
      assertEquals(ids.length, 70);
    }
    const refused = (contextLength: number, message: string) =>
      assertRejects(() => loadModel(folder, { contextLength }), UserError, message);
    await refused(0, "A context of 0 tokens makes no sense");
    await refused(2.5, "A context of 2.5 tokens makes no sense");
  });
});

Deno.test("loadModel() says why a context can't be had", async () => {
  const { device } = await testGpu();
  await withFolder(async (folder) => {
    const { files } = await train(settings("causalDecoder", "causal"), { device });
    const learned = await files();
    await assertRejects(
      () => loadModel(learned, { contextLength: 9 }),
      UserError,
      "learned positions, which end at 8",
    );
    await using shorter = await loadModel(learned, { device, contextLength: 5 });
    assertEquals((await shorter.evaluate({ text: TEXT })).rows, Math.ceil((TEXT.length - 1) / 5));

    await train(settings("encoderDecoder", "span", "alibi"), { folder, device });
    await using long = await loadModel(folder, { device, contextLength: 200 });
    await assertRejects(() => long.evaluate({ text: TEXT }), UserError, "take a shorter context");
    await assertRejects(() => long.evaluate(), UserError, "Rows of 200 tokens with objective span need ids");
    await using short = await loadModel(folder, { device, contextLength: 2 });
    await assertRejects(() => short.generate("the ").next(), UserError, "has no room for a prompt");
    await assertRejects(() => short.evaluate({ text: TEXT }), UserError, "expected at least 3");
    assertStringIncludes(long.folder!, folder);
  });
});
