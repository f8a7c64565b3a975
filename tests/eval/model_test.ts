import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { loadModel, type Model } from "../../src/eval/model.ts";
import { testGpu } from "../_gpu.ts";
import { withFolder } from "../train/tinyRun.ts";
import { stepFolder, TEXT, trainTiny } from "./support.ts";

const GPT2 = new URL("../fixtures/hf/gpt2", import.meta.url).pathname;
const T5 = new URL("../fixtures/hf/t5_v1_1", import.meta.url).pathname;

async function write(model: Model, prompt: string, seed = 0): Promise<string> {
  return (await Array.fromAsync(model.generate(prompt, { maxTokens: 20, seed }))).join("");
}

function refuses(path: string, message: string): Promise<unknown> {
  return assertRejects(() => loadModel(path), UserError, message);
}

Deno.test("loadModel() generates with and evaluates the checkpoints of a run", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    const { validation } = await trainTiny(run);

    await using model = await loadModel(run); // in a Worker
    assertEquals(model.folder, stepFolder(run, 3));
    assertEquals([model.spec.modelDim, model.spec.seqLen, model.tokenizer?.kind], [8, 8, "chars"]);
    const text = await write(model, "the ");
    assertEquals(text.length, 20);
    assertEquals(await write(model, "the "), text);
    assertNotEquals(await write(model, "the ", 1), text);

    const heldOut = await model.evaluate();
    const { loss, lossStandardError: standardError, perplexity, rows } = heldOut;
    const { bitsPerByte, ...others } = validation!;
    assertEquals({ loss, standardError, perplexity, rows }, others);
    assertAlmostEquals(heldOut.bitsPerByte!, bitsPerByte, 1e-12); // divided in another order
    assertEquals(heldOut.tokens, Math.ceil(TEXT.length / 10) - 1);
    const sameText = await model.evaluate({ text: TEXT.slice(-Math.ceil(TEXT.length / 10)) });
    assertEquals(sameText, heldOut);
    const chunks = await model.evaluate({ text: [...TEXT.slice(-Math.ceil(TEXT.length / 10))] });
    assertEquals(chunks, heldOut);

    const { device } = await testGpu();
    await using earlier = await loadModel(stepFolder(run, 2), { device, maxBinding: 65536 });
    assertEquals(earlier.folder, stepFolder(run, 2));
    const before = await earlier.evaluate();
    assertNotEquals(before.loss, loss);
    assertAlmostEquals(before.loss, loss, 1);
  });
});

Deno.test("loadModel() knows checkpoints that are no GPT-2, and passes over damaged ones", async () => {
  await withFolder(async (run) => {
    await trainTiny(
      run,
      "model.norm=rmsnorm",
      "model.numKvHeads=1",
      "tokenizer=bytes",
      "validation.fraction=0",
    );
    const damaged = join(stepFolder(run, 3), "model.safetensors");
    const bytes = Deno.readFileSync(damaged);
    bytes[bytes.length - 1] ^= 1;
    Deno.writeFileSync(damaged, bytes);
    await refuses(stepFolder(run, 3), "step-2");

    const messages: string[] = [];
    await using model = await loadModel(run, { onMessage: (text) => messages.push(text) });
    assertEquals(model.folder, stepFolder(run, 2));
    assertEquals(messages.length, 1);
    assertEquals([model.spec.numKvHeads, model.spec.norm, model.tokenizer?.kind], [1, "rmsnorm", "bytes"]);
    assertEquals(await write(model, ""), await write(model, "\n"));
    await assertRejects(() => model.evaluate(), UserError, "Nothing was held out");
    await Deno.remove(join(run, "data"), { recursive: true });
    await assertRejects(() => model.evaluate(), UserError, "no longer has its tokens");

    Deno.removeSync(stepFolder(run, 2), { recursive: true });
    await refuses(run, "no intact checkpoint");
  });
});

Deno.test("loadModel() uses token ids where a folder has no tokenizer", async () => {
  await using model = await loadModel(GPT2);
  assertEquals([model.tokenizer, model.folder, model.spec.vocabSize], [null, GPT2, 97]);
  const ids = await Array.fromAsync(model.generateTokens([1, 2, 3], { maxTokens: 50 }));
  assert(ids.length === 50 && ids.every((id) => id >= 0 && id < 97));
  const { tokens, bitsPerByte, rows } = await model.evaluate({ tokens: Int32Array.from(ids) });
  assertEquals([tokens, bitsPerByte, rows], [49, null, 2]);

  await assertRejects(() => model.generate("text").next(), UserError, "has no tokenizer.json");
  await assertRejects(() => model.evaluate({ text: "text" }), UserError, "has no tokenizer.json");
  await assertRejects(() => model.evaluate({ tokens: Int32Array.of(1, 97) }), UserError, "Token 1 is 97");
  await assertRejects(() => model.evaluate(), UserError, "no checkpoint in a run's folder");
});

Deno.test("loadModel() starts and ends T5's output as its config.json says", async () => {
  const { device } = await testGpu();
  await using model = await loadModel(T5, { device, contextLength: 12 });
  assertEquals([model.tokenizer, model.spec.architecture], [null, "encoderDecoder"]);
  const options = { maxTokens: 80, temperature: 1 };
  const seeds = [0, 1, 2, 3];
  const found: number[][] = [];
  for (const seed of seeds) {
    found.push(await Array.fromAsync(model.generateTokens([5, 6, 7, 1], { ...options, seed })));
  }
  const ended = found.filter(({ length }) => length < 80);
  assert(ended.length > 0, "</s> is one of 103 tokens");
  assert(found.flat().every((id) => id !== 1), "</s> is left out");
  const { tokens, rows } = await model.evaluate({ tokens: Int32Array.from(found[0].concat(5, 6)) });
  assert(tokens > 0 && rows > 0);

  await withFolder(async (folder) => {
    const config = JSON.parse(Deno.readTextFileSync(join(T5, "config.json")));
    Deno.copyFileSync(join(T5, "model.safetensors"), join(folder, "model.safetensors"));
    const rewrite = (changes: object) =>
      Deno.writeTextFileSync(join(folder, "config.json"), JSON.stringify({ ...config, ...changes }));
    const first = async () => {
      await using changed = await loadModel(folder, { device, contextLength: 12 });
      return (await Array.fromAsync(changed.generateTokens([5, 6, 7, 1], { ...options, seed: 0 }))).slice(
        0,
        9,
      );
    };
    rewrite({});
    const same = await first();
    assertEquals(same, found[0].slice(0, 9));
    rewrite({ decoder_start_token_id: 40 });
    assertNotEquals(await first(), same);
    rewrite({ eos_token_id: [1, same[2]] });
    assertEquals(await first(), same.slice(0, same.indexOf(same[2])));
    rewrite({ decoder_start_token_id: 103 });
    await refuses(folder, "decoder_start_token_id is 103, expected an id below");
    rewrite({ eos_token_id: "</s>" });
    await refuses(folder, "eos_token_id");
  });
});

Deno.test("loadModel() refuses a path without a model, and a tokenizer of another one", async () => {
  await withFolder(async (folder) => {
    await refuses(join(folder, "missing"), "Cannot read");
    await refuses(folder, "name a run, a checkpoint or a folder with a model");
    await refuses(new URL(import.meta.url).pathname, "Cannot read");
    for (const name of ["config.json", "model.safetensors"]) {
      Deno.copyFileSync(join(GPT2, name), join(folder, name));
    }
    const bytes = new URL("../fixtures/tokenizers/gpt2/tokenizer.json", import.meta.url);
    Deno.copyFileSync(bytes, join(folder, "tokenizer.json"));
    await refuses(folder, "but the model knows 97");
  });
});
