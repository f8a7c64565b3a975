import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import {
  type Gpt2Architecture,
  gpt2Tensors,
  readGpt2Config,
  readGpt2Weights,
  transpose,
  writeGpt2Config,
} from "../../src/formats/hf/gpt2.ts";
import {
  encodeSafetensors,
  openModelFolder,
  parseSafetensors,
  type TensorSource,
  type TensorToWrite,
} from "../../src/formats/safetensors.ts";
import { FIXTURES, readJson } from "./support.ts";

const FIXTURE: Gpt2Architecture = {
  numLayers: 2,
  modelDim: 48,
  numHeads: 3,
  ffnDim: 192,
  seqLen: 40,
  vocabSize: 97,
  activation: "gelu",
  normEps: 1e-5,
  tied: true,
  dropout: { embedding: 0, attention: 0, residual: 0 },
  initStd: 0.02,
};

/** One layer with different sizes everywhere. */
const TINY: Gpt2Architecture = { ...FIXTURE, numLayers: 1, modelDim: 6, ffnDim: 5, seqLen: 4, vocabSize: 7 };

/** A file as transformers writes it, with values that count up from `first` in each tensor. */
function storedTensors(architecture: Gpt2Architecture): TensorToWrite[] {
  return gpt2Tensors(architecture).map(({ hfName, shape, transpose }, first) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const values = () => Promise.resolve(Float32Array.from({ length }, (_, i) => 1000 * first + i));
    return { name: hfName, dtype: "F32", shape: transpose ? shape.toReversed() : shape, values };
  });
}

const source = async (tensors: TensorToWrite[]) =>
  parseSafetensors(await encodeSafetensors(tensors), "model");
const weights = (from: TensorSource, architecture = TINY) => Array.from(readGpt2Weights(from, architecture));

Deno.test("readGpt2Config() reads both spellings of the reference model", () => {
  assertEquals(readGpt2Config(readJson("hf/gpt2/config.json")), FIXTURE);
  assertEquals(readGpt2Config(readJson("hf/gpt2/config.alt.json")), FIXTURE);
});

Deno.test("readGpt2Config() takes the defaults of GPT2Config", () => {
  assertEquals(readGpt2Config({ model_type: "gpt2" }), {
    numLayers: 12,
    modelDim: 768,
    numHeads: 12,
    ffnDim: 3072,
    seqLen: 1024,
    vocabSize: 50257,
    activation: "gelu",
    normEps: 1e-5,
    tied: true,
    dropout: { embedding: 0.1, attention: 0.1, residual: 0.1 },
    initStd: 0.02,
  });
});

Deno.test("readGpt2Config() tells activations apart", () => {
  const names = ["gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu", "relu", "silu", "swish"];
  const read = names.map((activation_function) =>
    readGpt2Config({ model_type: "gpt2", activation_function }).activation
  );
  assertEquals(read, ["gelu", "gelu", "gelu", "geluErf", "relu", "silu", "silu"]);
});

Deno.test("readGpt2Config() takes the general names of sizes", () => {
  const named = {
    model_type: "gpt2",
    num_hidden_layers: 3,
    hidden_size: 10,
    num_attention_heads: 5,
    max_position_embeddings: 9,
  };
  const { numLayers, modelDim, numHeads, seqLen, ffnDim } = readGpt2Config(named);
  assertEquals([numLayers, modelDim, numHeads, seqLen, ffnDim], [3, 10, 5, 9, 40]);
});

const REFUSED: [unknown, string][] = [
  [{ model_type: "bloom" }, 'model_type is "bloom", expected "gpt2"'],
  [{}, 'model_type is missing, expected "gpt2"'],
  [{ activation_function: "mish" }, 'activation_function is "mish", expected one of "gelu_new"'],
  [{ scale_attn_by_inverse_layer_idx: true }, "scale_attn_by_inverse_layer_idx is true, expected false"],
  [{ scale_attn_weights: false }, "scale_attn_weights is false, expected true"],
  [{ add_cross_attention: true }, "add_cross_attention is true, expected false"],
  [{ n_layer: 0 }, "n_layer is 0, expected number to be >0"],
  [{ n_layer: 1.5 }, "n_layer is 1.5, expected int"],
  [{ n_embd: "768" }, 'n_embd is "768", expected number'],
  [{ n_embd: null }, "n_embd is null, expected number"],
  [{ n_embd: 10, n_head: 3 }, "n_embd 10 is no multiple of n_head 3"],
  [{ attn_pdrop: 1 }, "attn_pdrop is 1, expected number to be <1"],
  [{ layer_norm_epsilon: 0 }, "layer_norm_epsilon is 0"],
  [{ tie_word_embeddings: "yes" }, 'tie_word_embeddings is "yes", expected boolean'],
  [[], "expected object"],
  [null, "config.json is null, expected object"],
];

for (const [change, message] of REFUSED) {
  Deno.test(`readGpt2Config() refuses ${JSON.stringify(change)}`, () => {
    const isPart = change !== null && !Array.isArray(change) && Object.keys(Object(change)).length > 0;
    const json = isPart ? { model_type: "gpt2", ...Object(change) } : change;
    assertThrows(() => readGpt2Config(json), UserError, message);
  });
}

Deno.test("writeGpt2Config() writes what readGpt2Config() reads, under every key of the library", () => {
  const odd: Gpt2Architecture = {
    ...FIXTURE,
    ffnDim: 77,
    activation: "geluErf",
    normEps: 1e-6,
    tied: false,
    dropout: { embedding: 0.1, attention: 0.2, residual: 0.3 },
    initStd: 0.5,
  };
  const activations = ["gelu", "geluErf", "relu", "silu"] as const;
  for (const architecture of [odd, ...activations.map((activation) => ({ ...FIXTURE, activation }))]) {
    assertEquals(readGpt2Config(JSON.parse(JSON.stringify(writeGpt2Config(architecture)))), architecture);
  }
  const written = writeGpt2Config(odd, 96);
  for (const file of ["config.json", "config.alt.json"]) {
    const keys = Object.keys(Object(readJson("hf/gpt2", file)));
    assertEquals(
      keys.filter((key) => !(key in written)),
      file === "config.json" ? ["transformers_version"] : [],
    );
  }
  assertEquals([written.eos_token_id, written.dtype, written.torch_dtype], [96, "float32", "float32"]);
});

Deno.test("gpt2Tensors() names every tensor of the reference model", () => {
  using file = openModelFolder(join(FIXTURES, "hf/gpt2"));
  const tensors = gpt2Tensors(FIXTURE);
  assertEquals(new Set(tensors.map(({ hfName }) => hfName)), new Set(file.tensors.keys()));
  assertEquals(tensors.length, 2 + 2 * 12 + 2);
  assertEquals(gpt2Tensors({ ...FIXTURE, tied: false }).at(-1), {
    name: "head.weight",
    hfName: "lm_head.weight",
    shape: [97, 48],
    transpose: false,
  });
});

Deno.test("readGpt2Weights() reads the reference model in our layout", () => {
  using file = openModelFolder(join(FIXTURES, "hf/gpt2"));
  const read = new Map(weights(file, FIXTURE).map((tensor) => [tensor.name, tensor]));
  assertEquals(read.get("blocks.1.attn.qkv.weight")?.shape, [144, 48]);
  assertEquals(read.get("blocks.1.mlp.up.weight")?.shape, [192, 48]);
  assertEquals(read.get("blocks.1.mlp.down.weight")?.shape, [48, 192]);
  assertEquals(read.get("tok_emb")?.values, file.read("transformer.wte.weight"));
  const stored = file.read("transformer.h.1.mlp.c_fc.weight"); // (48, 192)
  const ours = read.get("blocks.1.mlp.up.weight")!.values; // (192, 48)
  for (const [out, input] of [[0, 1], [191, 47], [100, 3]]) {
    assertEquals(ours[out * 48 + input], stored[input * 192 + out]);
  }
  for (const { values, shape } of read.values()) {
    assertEquals(
      values.length,
      shape.reduce((a, b) => a * b, 1),
    );
  }
});

Deno.test("readGpt2Weights() takes names with and without prefix, and passes over stored masks", async () => {
  const stored = storedTensors(TINY);
  const bare = stored.map((tensor) => ({ ...tensor, name: tensor.name.replace("transformer.", "") }));
  const mask = () => Promise.resolve(new Uint8Array(16));
  bare.push({ name: "h.0.attn.bias", dtype: "BOOL", shape: [1, 1, 4, 4], values: mask });
  bare.push({ name: "h.0.attn.masked_bias", dtype: "F32", shape: [4], values: mask });
  assertNotEquals(bare[0].name, stored[0].name);
  assertEquals(weights(await source(bare)), weights(await source(stored)));
});

Deno.test("readGpt2Weights() reads the head of an untied model, and passes over a tied one's copy", async () => {
  const untied = { ...TINY, tied: false };
  const stored = storedTensors(untied);
  assertEquals(weights(await source(stored), untied).at(-1)?.name, "head.weight");
  const parsed = await source(stored);
  assertThrows(() => weights(parsed), UserError, "set tie_word_embeddings to false");
  const copy = { ...stored[0], name: "lm_head.weight" };
  assertEquals(
    weights(await source([...stored.slice(0, -1), copy])),
    weights(await source(stored.slice(0, -1))),
  );
});

Deno.test("readGpt2Weights() refuses missing, unknown, doubled and misshapen tensors", async () => {
  const stored = storedTensors(TINY);
  const extra = (name: string): TensorToWrite => ({ ...stored[0], name });
  const file = await source(stored.filter(({ name }) => !name.endsWith("c_proj.bias")));
  assertThrows(
    () => weights(file),
    UserError,
    'lacks the tensor "transformer.h.0.attn.c_proj.bias", expected with shape [6]',
  );
  const unknown = await source([...stored, extra("transformer.h.0.crossattention.bias")]);
  assertThrows(() => weights(unknown), UserError, "transformer.h.0.crossattention.bias");
  const deeper = await source(storedTensors({ ...TINY, numLayers: 2 }));
  assertThrows(() => weights(deeper), UserError, "transformer.h.1.");
  const doubled = await source([...stored, extra("wte.weight")]);
  assertThrows(() => weights(doubled), UserError, "has both");
  const turned = stored.map((t) =>
    t.name.endsWith("c_fc.weight") ? { ...t, shape: t.shape.toReversed() } : t
  );
  const misshapen = await source(turned);
  assertThrows(() => weights(misshapen), UserError, "has shape [5,6], config.json asks for [6,5]");
  const flat = await source(stored.map((t) => t.name.endsWith("wpe.weight") ? { ...t, shape: [24] } : t));
  assertThrows(() => weights(flat), UserError, "has shape [24], config.json asks for [4,6]");
});

Deno.test("transpose() swaps rows and columns", () => {
  assertEquals([...transpose(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
  assertEquals([...transpose(Float32Array.of(7), 1, 1)], [7]);
  const values = Float32Array.from({ length: 65 * 3 }, (_, i) => i);
  assertEquals(transpose(transpose(values, 65, 3), 3, 65), values);
});
