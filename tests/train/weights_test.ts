import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { modelSettings, readSourceModel, requireModelOf } from "../../src/train/fromModel.ts";
import {
  formatModelConfig,
  modelTensors,
  readModelSpec,
  readModelWeights,
} from "../../src/train/modelFiles.ts";
import { loadWeights, requireSameModel } from "../../src/train/weights.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { tinyConfig, tinyDataset, tinyRun, withFolder } from "./tinyRun.ts";

const TOKENS = { bos_token_id: 3, eos_token_id: [4, 5], pad_token_id: 6, decoder_start_token_id: 7 };
const last = (run: string) => join(run, "checkpoints", "step-7");

const HF = ["gpt2", "bloom", "gpt_neox", "llama", "t5_v1_0", "t5_v1_1"];

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
      signal: controller.signal,
      onAccumulate: (_, step) => step === 5 ? controller.abort() : undefined,
    });
    const result = await tinyRun(run, config);
    assertEquals(result.digest, (await tinyRun(null, config)).digest);
    using source = openSafetensors(join(last(run), "model.safetensors"));
    assertEquals(source.tensors.get("blocks.0.attn.qkv.weight")?.shape, [12, 4]);
    const spec = deriveModel(config.model, (await tinyDataset(config)).tokenizer.vocabSize);
    assertEquals(readModelSpec(last(run)), spec);
  });
});

const requireSame = (folder: string, spec: ModelSpec) =>
  requireSameModel(folder, readModelSpec(folder), spec);

Deno.test("from: a run starts with another's newest weights and a fresh optimizer", async () => {
  await withFolder(async (folder) => {
    const [source, run] = [join(folder, "source"), join(folder, "run")];
    await tinyRun(source, tinyConfig());
    const config = tinyConfig(`from=${source}`, "seed=3", "train.batchSize=3", "train.rampUp=null");
    const stop = new AbortController();
    const rollback = { ...config, train: { ...config.train, nonFinite: "rollback" } } as const; // which saves the start
    const first = tinyRun(run, rollback, { signal: stop.signal, onAccumulate: () => stop.abort() });
    assertEquals(await first.catch((error) => error), stop.signal.reason);
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
    const refusedAll = async (changes: string[], expected: string) => {
      const config = tinyConfig(`from=${source}`, ...changes);
      const error = await assertRejects(() => tinyRun(null, config), UserError);
      assert(error.message.includes(expected), error.message);
    };
    await refused(
      "model.activation=relu",
      'model.activation is "relu", expected "gelu"; leave such settings out',
    );
    await refused("model.seqLen=6", "model.seqLen is 6, expected at most 5, where the learned positions end");
    await refusedAll(
      ["model.numLayers=2", "model.bias=false", "model.positions=alibi", "model.numHeads=1"],
      "model.numLayers is 2, expected 1; model.numHeads is 1, expected 2; model.numKvHeads is 1, expected 2; model.headDim is 4, expected 2; model.bias is false, expected true; " +
        'model.positions is "alibi", expected "learned"; leave such settings out',
    );
    await refused("seed=1", "is not the tokenizer of the run's data", "xyz ".repeat(99));
  });
  const config = tinyConfig("from=/nowhere");
  const error = await assertRejects(() => tinyRun(null, config), UserError);
  assert(error.message.includes("/nowhere/config.json"), error.message);
});

Deno.test("from: another objective, mask, dropout or loss may go on with the same weights", async () => {
  await withFolder(async (source) => {
    await tinyRun(source, tinyConfig());
    const spec = readModelSpec(last(source));
    requireSame(last(source), spec);
    const changes = {
      attention: "banded",
      window: 2,
      dropout: 0.1,
      attentionDropout: 0.1,
      zLoss: 1,
      initStd: 1,
    } as const;
    requireSame(last(source), { ...spec, ...changes });
    requireSame(last(source), {
      ...spec,
      architecture: "nonCausalDecoder",
      rotaryBase: 7,
      t5NumBuckets: 64,
    });
  });
  const llama = new URL("../fixtures/hf/llama", import.meta.url).pathname;
  const spec = readModelSpec(llama);
  requireSame(llama, { ...spec, seqLen: 999 });
  const error = assertThrows(() => requireSame(llama, { ...spec, rotaryBase: 7 }), UserError);
  assert(error.message.includes("model.rotaryBase is 7, expected 10000"), error.message);
});

Deno.test("modelSettings() is the section model of a config that goes on with the weights", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig("train.duration=4 steps"));
    const source = await readSourceModel(run, null);
    const taken = modelSettings(source);
    assertEquals(taken, modelSettings(await readSourceModel(join(run, "checkpoints", "step-4"), null)));
    const { vocabSize } = source.spec;
    const { model } = resolveConfig({ settings: taken, overrides: ["model.architecture=nonCausalDecoder"] });
    assertEquals([model.architecture, model.numLayers, model.modelDim, model.seqLen], [
      "nonCausalDecoder",
      1,
      4,
      5,
    ]);
    assertEquals([model.numKvHeads, model.headDim, model.ffnDim], [null, null, "equal-parameters"]);
    assertEquals(model.numEncoderLayers, null);
    const heads = resolveConfig({ settings: taken, overrides: ["model.numHeads=1"] });
    const wrong = deriveModel(heads.model, vocabSize);
    assertThrows(() => requireModelOf(source, wrong), UserError, "model.numHeads is 1, expected 2");
    requireModelOf(source, deriveModel(model, vocabSize));
    const other = deriveModel({ ...model, numLayers: 2 }, vocabSize);
    assertThrows(() => requireModelOf(source, other), UserError, "model.numLayers is 2, expected 1");
  });
  for (const name of HF) {
    const folder = new URL(`../fixtures/hf/${name}`, import.meta.url).pathname;
    const source = await readSourceModel(folder, null);
    const settings = modelSettings(source);
    const { model } = resolveConfig({ settings, overrides: ["model.dropout=0.5"] });
    const spec = deriveModel(model, source.spec.vocabSize);
    requireSame(folder, spec);
    assertEquals(spec.dropout, 0.5);
  }
  await assertRejects(() => readSourceModel("/nowhere", null), UserError, `"/nowhere" is not there`);
});

Deno.test("loadWeights() reads every architecture of Hugging Face, and modelTensors() writes it again", async () => {
  for (const name of HF) {
    const folder = new URL(`../fixtures/hf/${name}`, import.meta.url).pathname;
    const spec = readModelSpec(folder);
    const engine = fakeEngine(spec, { microBatchSize: 1 });
    await loadWeights(engine, folder, spec);
    using source = openSafetensors(join(folder, "model.safetensors"));
    const written = modelTensors(engine, spec);
    assertEquals(written.map(({ name }) => name).sort(), [...source.tensors.keys()].sort());
    for (const { name, values } of written) {
      const bytes = await values();
      const found = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      assertEquals(found, source.readBytes(name), name);
    }
    // as text and back, as a checkpoint has it
    const files = {
      "config.json": formatModelConfig(spec, TOKENS),
      "model.safetensors": new Uint8Array(),
    };
    const isT5 = spec.positions === "t5"; // whose config.json needs the file to tell whether the head is tied
    if (!isT5) assertEquals(readModelSpec(files), spec);
    const { bos_token_id, eos_token_id, pad_token_id, decoder_start_token_id } = JSON.parse(
      files["config.json"],
    );
    assertEquals([bos_token_id, eos_token_id, pad_token_id], [3, [4, 5], 6]);
    assertEquals(decoder_start_token_id, isT5 ? 7 : undefined);
  }
});
