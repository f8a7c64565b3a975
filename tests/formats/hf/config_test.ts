import { assert, assertEquals, assertThrows } from "@std/assert";
import { ACTIVATIONS, namesOf, POSITIONS } from "../../../src/config/axes.ts";
import { type ModelSpec, PLAIN_GPT } from "../../../src/config/deriveModel.ts";
import { UserError } from "../../../src/errors.ts";
import { HF_FAMILIES } from "../../../src/formats/hf/families.ts";
import type { HfFamily } from "../../../src/formats/hf/family.ts";
import { formatHfConfig } from "../../../src/formats/hf/write.ts";
import { formatOf } from "../../../src/train/modelFormat.ts";
import { readJson } from "../support.ts";
import { caseOf, CASES, familyOf, hasOf, specOf } from "./support.ts";

/** What the reference models are; PLAIN_GPT where nothing is said. */
const EXPECTED: Readonly<Record<string, Partial<ModelSpec>>> = {
  gpt2: { modelDim: 48, numHeads: 3, numKvHeads: 3, headDim: 16, ffnDim: 192, seqLen: 40, vocabSize: 97 },
  bloom: {
    ...{ modelDim: 48, numHeads: 6, numKvHeads: 6, headDim: 8, ffnDim: 192, seqLen: 2048, vocabSize: 101 },
    positions: "alibi",
    embeddingNorm: true,
  },
  gpt_neox: {
    ...{ modelDim: 64, numHeads: 4, numKvHeads: 4, headDim: 16, ffnDim: 160, seqLen: 40, vocabSize: 97 },
    positions: "rotary",
    rotaryFraction: 0.25,
    parallelResidual: true,
    tied: false,
  },
  llama: {
    ...{ modelDim: 64, numHeads: 4, numKvHeads: 2, headDim: 16, ffnDim: 88, seqLen: 40, vocabSize: 97 },
    positions: "rotary",
    activation: "swiglu",
    norm: "rmsnorm",
    bias: false,
    tied: false,
  },
  t5_v1_0: {
    ...{ modelDim: 32, numHeads: 3, numKvHeads: 3, headDim: 16, ffnDim: 56, seqLen: 512, vocabSize: 101 },
    architecture: "encoderDecoder",
    numEncoderLayers: 3,
    positions: "t5",
    activation: "relu",
    norm: "rmsnorm",
    normEps: 1e-6,
    bias: false,
    scaleScores: false,
    scaleOutput: true,
  },
  t5_v1_1: {
    ...{ modelDim: 32, numHeads: 4, numKvHeads: 4, headDim: 8, ffnDim: 64, seqLen: 512, vocabSize: 103 },
    architecture: "encoderDecoder",
    numEncoderLayers: 2,
    positions: "t5",
    activation: "gegluTanh",
    norm: "rmsnorm",
    normEps: 1e-6,
    bias: false,
    scaleScores: false,
    tied: false,
  },
};

type Settings<Key extends keyof ModelSpec> = { readonly [K in Key]: readonly ModelSpec[K][] };
type OfTraining = "dropout" | "attentionDropout" | "zLoss" | "initStd" | "scaledResidualInit";

/** What no reference model has, of every setting that decides which function the weights are. */
const OTHER_MODELS: Settings<Exclude<keyof ModelSpec, OfTraining>> = {
  architecture: ["causalDecoder", "nonCausalDecoder", "encoderDecoder"],
  numLayers: [7],
  numEncoderLayers: [7],
  modelDim: [480],
  numHeads: [1],
  numKvHeads: [1],
  headDim: [32],
  ffnDim: [123],
  seqLen: [13],
  vocabSize: [17],
  positions: namesOf(POSITIONS),
  rotaryBase: [77],
  rotaryFraction: [0.5, 1],
  t5NumBuckets: [8],
  t5MaxDistance: [99],
  activation: namesOf(ACTIVATIONS),
  norm: ["layernorm", "rmsnorm"],
  normEps: [1e-3],
  embeddingNorm: [false, true],
  qkNorm: [true],
  parallelResidual: [false, true],
  attention: ["banded", "alternating"],
  window: [5],
  scaleScores: [false, true],
  scaleOutput: [false, true],
  logitSoftCap: [30],
  bias: [false, true],
  tied: [false, true],
};

const OTHER_TRAINING: { readonly [K in OfTraining]: ModelSpec[K] } = {
  dropout: 0.3,
  attentionDropout: 0.4,
  zLoss: 0.5,
  initStd: 0.6,
  scaledResidualInit: false,
};

/** Settings that mean nothing in a model. */
function settingsOfOthers({ positions, attention, architecture }: ModelSpec): string[] {
  return [
    ...positions === "rotary" ? [] : ["rotaryBase", "rotaryFraction"],
    ...positions === "t5" ? [] : ["t5NumBuckets", "t5MaxDistance"],
    ...attention === "dense" ? ["window"] : [],
    ...architecture === "encoderDecoder" ? [] : ["numEncoderLayers"],
  ];
}

/** A config.json with some keys changed; undefined removes one. */
function changed(family: HfFamily, changes: Record<string, unknown>): unknown {
  const json = Object(readJson("hf", caseOf(family.modelType), "config.json"));
  return JSON.parse(JSON.stringify({ ...json, ...changes }));
}

function read(
  modelType: string,
  changes: Record<string, unknown>,
  tensors: readonly string[] = [],
): ModelSpec {
  const family = familyOf(modelType);
  return family.readConfig(changed(family, changes), (name) => tensors.includes(name));
}

function rewritten(family: HfFamily, spec: ModelSpec): ModelSpec {
  const text = formatHfConfig(family, spec, {}, "F32");
  return family.readConfig(JSON.parse(text), () => !spec.tied);
}

Deno.test("there is a reference model of every architecture", () => {
  assertEquals(Object.keys(EXPECTED).sort(), CASES);
  assertEquals(
    new Set(CASES.map((name) => formatOf(readJson("hf", name, "config.json")))),
    new Set(HF_FAMILIES),
  );
});

for (const name of CASES) {
  const configs = ["config.json", "config.alt.json"].map((file) => readJson("hf", name, file));
  const family = formatOf(configs[0]);
  const spec = specOf(name);

  Deno.test(`${name}: readConfig() reads both spellings of the reference model`, () => {
    const expected = { ...PLAIN_GPT, numLayers: 2, ...EXPECTED[name] };
    for (const json of configs) assertEquals<unknown>(family.readConfig(json, hasOf(name)), expected);
  });

  Deno.test(`${name}: writeConfig() writes what readConfig() reads, under the keys of every version`, () => {
    const odd = { ...spec, numLayers: 5, seqLen: 77, vocabSize: 1009, normEps: 3e-6, tied: !spec.tied };
    for (const each of [spec, odd]) assertEquals(rewritten(family, each), each);
    const written = JSON.parse(formatHfConfig(family, spec, { eos_token_id: [7, 8] }, "BF16"));
    const unwritten = ["transformers_version", "initializer_factor"]; // 1.0 everywhere, which JSON.stringify can't write
    for (const json of configs) {
      assertEquals(
        Object.keys(Object(json)).filter((key) => !(key in written) && !unwritten.includes(key)),
        [],
      );
    }
    assertEquals([written.eos_token_id, written.dtype, written.torch_dtype], [
      [7, 8],
      "bfloat16",
      "bfloat16",
    ]);
    assertEquals(written.architectures, [family.className]);
  });

  Deno.test(`${name}: what changes the model is written or named by obstacles(), what trains it is no obstacle`, () => {
    assertEquals(
      [...Object.keys(OTHER_MODELS), ...Object.keys(OTHER_TRAINING)].sort(),
      Object.keys(spec).sort(),
    );
    for (const [key, value] of Object.entries(OTHER_TRAINING)) {
      assertEquals(family.obstacles({ ...spec, [key]: value }), [], key);
    }
    const unused = settingsOfOthers(spec);
    for (const [key, values] of Object.entries(OTHER_MODELS)) {
      for (const value of values) {
        const changed = { ...spec, [key]: value };
        if (family.obstacles(changed).length > 0 || unused.includes(key)) continue;
        assertEquals<unknown>(Object(rewritten(family, changed))[key], value, key);
      }
    }
  });
}

for (const family of HF_FAMILIES) {
  const { modelType } = family;

  Deno.test(`${modelType}: only it expresses its own models`, () => {
    const spec = specOf(modelType);
    const expressing = HF_FAMILIES.filter((other) => other.obstacles(spec).length === 0);
    assertEquals(expressing.map((other) => other.modelType), [modelType]);
    for (
      const change of [
        { attention: "banded", window: 3 },
        { qkNorm: true },
        { positions: "sinusoidal" },
        { architecture: "nonCausalDecoder" },
      ] as const
    ) assert(HF_FAMILIES.every((other) => other.obstacles({ ...spec, ...change }).length > 0));
  });

  Deno.test(`${modelType}: readConfig() refuses what is no config`, () => {
    for (const json of [null, [], "text", 3]) {
      assertThrows(() => family.readConfig(json, () => false), UserError, "expected object");
    }
  });
}

Deno.test("obstacles() names what an architecture can't be set to", () => {
  const { obstacles } = familyOf("gpt2");
  const spec = { ...specOf("gpt2"), norm: "rmsnorm", bias: false, numKvHeads: 1 } as const;
  assertEquals(obstacles(spec).sort(), ["bias=false", "norm=rmsnorm", "numKvHeads=1"]);
  assertEquals(familyOf("bloom").obstacles({ ...specOf("bloom"), ffnDim: 191 }), ["ffnDim=191"]);
  const tilted = { ...specOf("llama"), rotaryFraction: 0.5, activation: "silu" } as const;
  assertEquals(familyOf("llama").obstacles(tilted).sort(), ["activation=silu", "rotaryFraction=0.5"]);
});

Deno.test("readConfig() takes the library's defaults where keys are missing", () => {
  const bare = (modelType: string) => familyOf(modelType).readConfig({ model_type: modelType }, () => false);
  const pick = ({ numLayers, modelDim, numHeads, ffnDim, vocabSize, tied, normEps }: ModelSpec) => {
    return [numLayers, modelDim, numHeads, ffnDim, vocabSize, tied, normEps];
  };
  assertEquals(pick(bare("gpt2")), [12, 768, 12, 3072, 50257, true, 1e-5]);
  assertEquals([bare("gpt2").dropout, bare("gpt2").attentionDropout], [0.1, 0.1]);
  assertEquals(pick(bare("bloom")), [2, 64, 8, 256, 250880, true, 1e-5]);
  assertEquals(pick(bare("gpt_neox")), [44, 6144, 64, 24576, 50432, false, 1e-5]);
  assertEquals([bare("gpt_neox").activation, bare("gpt_neox").rotaryFraction], ["geluErf", 0.25]);
  assertEquals(pick(bare("llama")), [32, 4096, 32, 11008, 32000, false, 1e-6]);
  assertEquals(pick(bare("t5")), [6, 512, 8, 2048, 32128, true, 1e-6]);
  assertEquals([bare("t5").activation, bare("t5").scaleOutput, bare("t5").headDim], ["relu", true, 64]);
});

Deno.test("readConfig() tells activations apart, and writeConfig() writes each", () => {
  const names = ["gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu", "relu", "silu", "swish"];
  const of = (key: string, modelType: string) =>
    names.map((name) => read(modelType, { [key]: name }).activation);
  const plain = ["gelu", "gelu", "gelu", "geluErf", "relu", "silu", "silu"];
  assertEquals<string[]>(of("activation_function", "gpt2"), plain);
  assertEquals<string[]>(of("hidden_act", "gpt_neox"), plain);
  const gated = ["gegluTanh", "gegluTanh", "gegluTanh", "geglu", "reglu", "swiglu", "swiglu"];
  assertEquals<string[]>(of("hidden_act", "llama"), gated);
  const t5 = (feed_forward_proj: string, dense_act_fn?: string) => {
    return read("t5", { feed_forward_proj, dense_act_fn }).activation;
  };
  assertEquals(["relu", "gelu", "gated-gelu", "gated-silu", "gated-relu"].map((name) => t5(name)), [
    ...["relu", "geluErf", "gegluTanh", "swiglu", "reglu"] as const,
  ]);
  assertEquals([t5("gated-gelu", "gelu"), t5("relu", "relu"), t5("gelu_new")], ["geglu", "relu", "gelu"]);
  for (const family of HF_FAMILIES.filter(({ modelType }) => modelType !== "bloom")) {
    const spec = specOf(family.modelType);
    for (const activation of namesOf(ACTIVATIONS)) {
      if (family.obstacles({ ...spec, activation }).length > 0) continue;
      assertEquals(rewritten(family, { ...spec, activation }).activation, activation);
    }
  }
});

Deno.test("readConfig() finds a T5's head by its tensor, and its scale by the keys of either version", () => {
  const lmHead = ["lm_head.weight"];
  const cases: [Record<string, unknown>, readonly string[], boolean, boolean][] = [
    [{ tie_word_embeddings: false, scale_decoder_outputs: undefined }, lmHead, false, false], // published 1.1
    [{ tie_word_embeddings: true, scale_decoder_outputs: false }, lmHead, false, false], // version 5 of it
    [{ tie_word_embeddings: undefined, scale_decoder_outputs: undefined }, [], true, true], // published 1.0
    [{ tie_word_embeddings: true, scale_decoder_outputs: true }, [], true, true],
    [{ tie_word_embeddings: true, scale_decoder_outputs: false }, [], true, false],
  ];
  for (const [keys, tensors, tied, scaleOutput] of cases) {
    const spec = read("t5", keys, tensors);
    assertEquals([spec.tied, spec.scaleOutput], [tied, scaleOutput], JSON.stringify(keys));
    assertEquals(rewritten(familyOf("t5"), spec), spec);
  }
  assertEquals(read("t5", { num_decoder_layers: 7 }).numLayers, 7);
  assertEquals(read("t5", { num_decoder_layers: undefined, num_layers: 3 }).numLayers, 3);
});

Deno.test("readConfig() rounds the rotated part of a head as the library does", () => {
  const fraction = (rotary_pct: number) =>
    read("gpt_neox", { rope_parameters: undefined, rotary_pct }).rotaryFraction;
  assertEquals([fraction(1), fraction(0.5), fraction(0.3)], [1, 0.5, 0.25]); // of 16: 16, 8, 4.8
});

Deno.test("readConfig() takes a scaling of rotations that scales nothing for none", () => {
  for (const rope_scaling of [null, undefined, { rope_type: "default" }, { type: "default" }]) {
    assertEquals(read("llama", { rope_scaling }), read("llama", {}));
  }
});

const REFUSED: [string, Record<string, unknown>, string][] = [
  ["gpt2", { activation_function: "mish" }, 'activation_function is "mish", expected one of "gelu_new"'],
  [
    "gpt2",
    { scale_attn_by_inverse_layer_idx: true },
    "scale_attn_by_inverse_layer_idx is true, expected false",
  ],
  ["gpt2", { scale_attn_weights: false }, "scale_attn_weights is false, expected true"],
  ["gpt2", { add_cross_attention: true }, "add_cross_attention is true, expected false"],
  ["gpt2", { n_layer: 0 }, "n_layer is 0, expected number to be >0"],
  ["gpt2", { n_layer: 1.5 }, "n_layer is 1.5, expected int"],
  ["gpt2", { n_embd: "768" }, 'n_embd is "768", expected number'],
  ["gpt2", { n_embd: null }, "n_embd is null, expected number"],
  ["gpt2", { n_head: 5 }, "n_embd 48 is no multiple of n_head 5"],
  ["gpt2", { hidden_size: 49 }, "hidden_size is 49 and n_embd is 48, expected the same"],
  ["gpt2", { attn_pdrop: 1 }, "attn_pdrop is 1, expected number to be <1"],
  ["gpt2", { layer_norm_epsilon: 0 }, "layer_norm_epsilon is 0"],
  ["gpt2", { tie_word_embeddings: "yes" }, 'tie_word_embeddings is "yes", expected boolean'],
  [
    "bloom",
    { apply_residual_connection_post_layernorm: true },
    "apply_residual_connection_post_layernorm is true",
  ],
  ["bloom", { n_embed: 50 }, "n_embed is 50 and hidden_size is 48"],
  ["bloom", { n_head: 7 }, "hidden_size 48 is no multiple of n_head 7"],
  ["gpt_neox", { attention_bias: false }, "attention_bias is false, expected true"],
  ["gpt_neox", { rope_scaling: { type: "linear", factor: 2 } }, 'rope_scaling is {"type":"linear"'],
  ["gpt_neox", { rope_parameters: { rope_type: "yarn" } }, 'rope_parameters.rope_type is "yarn"'],
  ["gpt_neox", { rope_parameters: null, rotary_pct: 0.2 }, "rotates 3 of a head's 16 dimensions"],
  ["gpt_neox", { rope_parameters: null, rotary_pct: 0 }, "rotary_pct is 0"],
  ["llama", { attention_bias: true }, "attention_bias is true and mlp_bias is false, expected the same"],
  [
    "llama",
    { rope_scaling: { rope_type: "llama3" } },
    'rope_scaling is {"rope_type":"llama3"}, expected null',
  ],
  ["llama", { rope_scaling: { rope_type: "default", factor: 2 } }, "rope_scaling is"],
  ["llama", { rope_scaling: {} }, "rope_scaling is {}"],
  ["llama", { rope_scaling: "linear" }, "rope_scaling is"],
  ["llama", { rope_parameters: { rope_type: "llama3", factor: 8 } }, 'rope_parameters.rope_type is "llama3"'],
  ["llama", { rope_parameters: { type: "linear" } }, 'rope_parameters.type is "linear"'],
  ["llama", { partial_rotary_factor: 0.5 }, "partial_rotary_factor is 0.5, expected 1"],
  ["llama", { hidden_act: "mish" }, 'hidden_act is "mish"'],
  [
    "llama",
    { head_dim: null, num_attention_heads: 5 },
    "hidden_size 64 is no multiple of num_attention_heads 5",
  ],
  ["t5", { feed_forward_proj: "gated-mish", dense_act_fn: undefined }, 'feed_forward_proj is "gated-mish"'],
  ["t5", { dense_act_fn: "tanh" }, 'dense_act_fn is "tanh"'],
  ["t5", { d_kv: 0 }, "d_kv is 0"],
];

for (const [modelType, changes, message] of REFUSED) {
  Deno.test(`${modelType}: readConfig() refuses ${JSON.stringify(changes)}`, () => {
    const error = assertThrows(() => read(modelType, changes), UserError, message);
    assert(error.message.startsWith("config.json: ") && !error.message.includes("\n"), error.message);
  });
}
