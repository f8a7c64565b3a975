import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { UserError } from "../../src/errors.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { ParameterInfo } from "../../src/engine/engine.ts";
import { readModelSpec, readModelWeights } from "../../src/train/modelFiles.ts";
import { loadWeights } from "../../src/train/weights.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { tinyConfig, tinyDataset, tinyRun, withFolder } from "./tinyRun.ts";

const GPT2 = new URL("../fixtures/hf/gpt2", import.meta.url).pathname;
const last = (run: string) => join(run, "checkpoints", "step-7");

/** RMS norm: no GPT-2. */
function rmsParameters({ vocabSize: V, modelDim: C, seqLen }: ModelSpec): ParameterInfo[] {
  return [
    { name: "tok_emb", shape: [V, C], decays: true },
    { name: "pos_emb", shape: [seqLen, C], decays: true },
    { name: "final_norm.weight", shape: [C], decays: false },
  ];
}

Deno.test("a checkpoint of a GPT-2 has Hugging Face's names and layout", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    await tinyRun(run, config);
    const spec = deriveModel(config.model, (await tinyDataset(config)).tokenizer.vocabSize);
    using source = openSafetensors(join(last(run), "model.safetensors"));
    const { tensors } = source;
    assertEquals(tensors.get("transformer.h.0.attn.c_attn.weight")?.shape, [4, 12]);
    assertEquals(tensors.get("transformer.wpe.weight")?.shape, [5, 4]);
    assert(!tensors.has("lm_head.weight"));
    const json = JSON.parse(Deno.readTextFileSync(join(last(run), "config.json")));
    assertEquals([json.model_type, json.n_embd, json.vocab_size], ["gpt2", 4, spec.vocabSize]);
    const { zLoss: _, ...found } = readModelSpec(last(run));
    const { zLoss: __, ...expected } = spec;
    assertEquals(found, expected);
    const qkv = [...readModelWeights(last(run))].find(({ name }) => name === "blocks.0.attn.qkv.weight")!;
    assertEquals(qkv.shape, [12, 4]);
    const stored = source.read("transformer.h.0.attn.c_attn.weight"); // (4, 12)
    assertEquals([qkv.values[1], qkv.values[4]], [stored[12], stored[1]]);
  });
});

Deno.test("a checkpoint of another architecture has our names, and resumes as exactly", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig("model.norm=rmsnorm", "model.bias=false");
    const controller = new AbortController();
    await tinyRun(run, config, {
      parametersOf: rmsParameters,
      signal: controller.signal,
      onAccumulate: (_, step) => step === 5 ? controller.abort() : undefined,
    });
    const result = await tinyRun(run, config, { parametersOf: rmsParameters });
    assertEquals(result.digest, (await tinyRun(null, config, { parametersOf: rmsParameters })).digest);
    using source = openSafetensors(join(last(run), "model.safetensors"));
    assertEquals([...source.tensors.keys()], ["final_norm.weight", "pos_emb", "tok_emb"]);
    const spec = deriveModel(config.model, (await tinyDataset(config)).tokenizer.vocabSize);
    assertEquals(readModelSpec(last(run)), spec);
  });
});

Deno.test("from: a run starts with another's newest weights and a fresh optimizer", async () => {
  await withFolder(async (folder) => {
    const [source, run] = [join(folder, "source"), join(folder, "run")];
    await tinyRun(source, tinyConfig());
    const config = tinyConfig(`from=${source}`, "seed=3", "train.batchSize=3", "train.rampUp=null");
    const stop = new AbortController();
    await tinyRun(run, config, { signal: stop.signal, onAccumulate: () => stop.abort() });
    const bytes = (path: string, name: string) => Deno.readFileSync(join(path, name));
    const start = join(run, "checkpoints", "step-0");
    assertEquals(bytes(start, "model.safetensors"), bytes(last(source), "model.safetensors"));
    using optimizer = openSafetensors(join(start, "optimizer.safetensors"));
    for (const name of optimizer.tensors.keys()) {
      assert(optimizer.read(name).every((value) => value === 0), name);
    }
    const result = await tinyRun(run, config);
    assertEquals(result.steps, 7);
    assertNotEquals(result.digest, (await tinyRun(null, tinyConfig("seed=3"))).digest);
    // a checkpoint by name is as good
    const named = tinyConfig(`from=${last(source)}`, "seed=3", "train.batchSize=3", "train.rampUp=null");
    assertEquals((await tinyRun(null, named)).digest, result.digest);
  });
});

Deno.test("from: refuses a model, a shape or a tokenizer that differs, by name", async () => {
  await withFolder(async (source) => {
    await tinyRun(source, tinyConfig());
    const refused = async (change: string, expected: string, text?: string) => {
      const config = tinyConfig(`from=${source}`, change);
      const dataset = await tinyDataset(config, text);
      const error = await assertRejects(() => tinyRun(null, config, { dataset }), UserError);
      assert(error.message.includes(expected), error.message);
    };
    await refused("model.activation=relu", "activation gelu, but model.activation is relu");
    await refused("model.seqLen=3", "pos_emb with shape [5,4], but the run's model has [3,4]");
    await refused("model.numLayers=2", "lacks blocks.1.norm1.weight [4]");
    await refused("seed=1", "is not the tokenizer of the run's data", "xyz ".repeat(99));
  });
  const config = tinyConfig("from=/nowhere");
  const error = await assertRejects(() => tinyRun(null, config), UserError);
  assert(error.message.includes("/nowhere/config.json"), error.message);
});

Deno.test("loadWeights() reads a GPT-2 of Hugging Face", async () => {
  const spec = readModelSpec(GPT2);
  const engine = fakeEngine(spec, { microBatchSize: 1 });
  await loadWeights(engine, GPT2, spec);
  using source = openSafetensors(join(GPT2, "model.safetensors"));
  assertEquals(engine.weights.get("tok_emb"), source.read("transformer.wte.weight"));
  const up = engine.weights.get("blocks.1.mlp.up.weight")!; // (4 C, C)
  const stored = source.read("transformer.h.1.mlp.c_fc.weight"); // (C, 4 C)
  const C = spec.modelDim;
  assertEquals([up[1], up[C], up[2 * C + 3]], [stored[4 * C], stored[1], stored[3 * 4 * C + 2]]);
});
