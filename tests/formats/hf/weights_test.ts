import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import type { ModelSpec } from "../../../src/config/deriveModel.ts";
import { UserError } from "../../../src/errors.ts";
import { HF_FAMILIES } from "../../../src/formats/hf/families.ts";
import { type NamedValues, readWeights } from "../../../src/formats/hf/read.ts";
import { type HfTensor, joinPieces, type Piece, sizeOf, swapAxes } from "../../../src/formats/hf/tensors.ts";
import { encodeValues, tensorsToWrite } from "../../../src/formats/hf/write.ts";
import {
  encodeSafetensors,
  openModelFolder,
  parseSafetensors,
  type TensorSource,
  type TensorToWrite,
} from "../../../src/formats/safetensors.ts";
import { modelParameters } from "../../../src/model/parameters.ts";
import { familyOf, folderOf, specOf } from "./support.ts";

/** One layer with different sizes everywhere. */
function tinySpec(modelType: string, changes: Partial<ModelSpec> = {}): ModelSpec {
  const heads = {
    gpt2: [6, 3, 3],
    bloom: [6, 3, 3],
    gpt_neox: [6, 3, 3],
    llama: [6, 4, 2],
    t5: [6, 3, 3],
  }[modelType]!;
  const [modelDim, numHeads, numKvHeads] = heads;
  const headDim = modelType === "llama" || modelType === "t5" ? 5 : 2;
  const ffnDim = modelType === "bloom" ? 4 * modelDim : 7;
  return {
    ...specOf(modelType),
    ...{ numLayers: 1, modelDim, numHeads, numKvHeads, headDim, ffnDim, seqLen: 9, vocabSize: 11 },
    ...changes,
  };
}

/** A file as transformers writes it, with values that count up from 1000 in the first tensor, 2000 in the second. */
function storedTensors(modelType: string, spec: ModelSpec): TensorToWrite[] {
  const pieces = familyOf(modelType).tensors(spec).flatMap((tensor) => tensor.pieces);
  return pieces.map(({ name, shape }, i) => ({
    name,
    shape,
    dtype: "F32",
    values: () =>
      Promise.resolve(Float32Array.from({ length: sizeOf(shape) }, (_, at) => 1000 * (i + 1) + at)),
  }));
}

async function source(tensors: readonly TensorToWrite[]): Promise<TensorSource> {
  return parseSafetensors(await encodeSafetensors(tensors), "model");
}

function weights(modelType: string, from: TensorSource, spec: ModelSpec): NamedValues[] {
  return [...readWeights(from, familyOf(modelType), spec)];
}

const named = (tensors: readonly TensorToWrite[], rename: (name: string) => string) =>
  tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) }));

for (const family of HF_FAMILIES) {
  const { modelType, prefix } = family;
  const spec = specOf(modelType);

  Deno.test(`${modelType}: tensors() has every tensor of the file, and every parameter of the model`, () => {
    using file = openModelFolder(folderOf(modelType));
    const tensors = family.tensors(spec);
    const stored = tensors.flatMap(({ pieces }) =>
      pieces.map(({ name, shape }) => [name, [...shape]] as const)
    );
    const inFile = [...file.tensors].map(([name, { shape }]) => [name, [...shape]] as const);
    assertEquals(new Map(stored), new Map(inFile));
    assertEquals(stored.length, inFile.length);
    for (const each of [spec, { ...spec, tied: !spec.tied }, tinySpec(modelType)]) {
      const ours = family.tensors(each).map(({ name, shape }) => ({ name, shape: [...shape] }));
      const byName = (a: { name: string }, b: { name: string }) => a.name < b.name ? -1 : 1;
      const expected = modelParameters(each).map(({ name, shape }) => ({ name, shape: [...shape] }));
      assertEquals(ours.sort(byName), expected.sort(byName));
    }
  });

  Deno.test(`${modelType}: what is read and written again has the same bytes`, async () => {
    using file = openModelFolder(folderOf(modelType));
    const read = new Map(weights(modelType, file, spec).map(({ name, values }) => [name, values]));
    assert([...read.values()].every((values) => values.every(Number.isFinite)));
    const written = tensorsToWrite(family.tensors(spec), (name) => Promise.resolve(read.get(name)!));
    using again = await source(written);
    assertEquals([...again.tensors.keys()].sort(), [...file.tensors.keys()].sort());
    for (const name of file.tensors.keys()) assertEquals(again.readBytes(name), file.readBytes(name), name);
  });

  Deno.test(`${modelType}: readWeights() takes names with and without prefix, and passes over what is no parameter`, async () => {
    const spec = tinySpec(modelType);
    const stored = storedTensors(modelType, spec);
    const usual = weights(modelType, await source(stored), spec);
    const bare = named(stored, (name) => name.startsWith(prefix) ? name.slice(prefix.length) : name);
    const extra = (name: string): TensorToWrite => ({ ...stored[1], name });
    const passedOver: Record<string, TensorToWrite[]> = {
      gpt2: [extra("h.0.attn.bias"), extra("h.0.attn.masked_bias")],
      bloom: [],
      gpt_neox: ["bias", "masked_bias", "rotary_emb.inv_freq"].map((name) =>
        extra(`layers.0.attention.${name}`)
      ),
      llama: [extra("layers.0.self_attn.rotary_emb.inv_freq")],
      t5: [
        ...["encoder", "decoder"].map((stack) => ({ ...stored[0], name: `${stack}.embed_tokens.weight` })),
        extra("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
      ],
    };
    if (prefix !== "") assertNotEquals(bare.map(({ name }) => name), stored.map(({ name }) => name));
    assertEquals(weights(modelType, await source([...bare, ...passedOver[modelType]]), spec), usual);
    // the shards of an index may come in any order
    assertEquals(weights(modelType, await source(stored.toReversed()), spec), usual);
  });

  Deno.test(`${modelType}: readWeights() reads the head of an untied model, and passes over a tied one's copy`, async () => {
    const [tied, untied] = [tinySpec(modelType, { tied: true }), tinySpec(modelType, { tied: false })];
    const stored = storedTensors(modelType, untied);
    assertEquals(weights(modelType, await source(stored), untied).at(-1)?.name, "head.weight");
    const head = stored[stored.length - 1].name;
    const withHead = await source(stored);
    if (modelType === "t5") { // where the tensor decides
      assertThrows(() => weights(modelType, withHead, tied), UserError, '"lm_head.weight", which a t5 model');
      return;
    }
    assertThrows(() => weights(modelType, withHead, tied), UserError, "set tie_word_embeddings to false");
    const without = storedTensors(modelType, tied);
    const copied = await source([...without, { ...without[0], name: head }]);
    assertEquals(weights(modelType, copied, tied), weights(modelType, await source(without), tied));
  });

  Deno.test(`${modelType}: readWeights() refuses missing, unknown, doubled and misshapen tensors`, async () => {
    const spec = tinySpec(modelType);
    const stored = storedTensors(modelType, spec);
    const refuse = async (tensors: readonly TensorToWrite[], message: string) => {
      const file = await source(tensors);
      const error = assertThrows(() => weights(modelType, file, spec), UserError, message);
      assert(!error.message.includes("\n"));
    };
    for (const { name, shape } of [stored[0], stored[3], stored[stored.length - 1]]) {
      const others = stored.filter((tensor) => tensor.name !== name);
      await refuse(others, `lacks the tensor "${name}", expected with shape [${shape}]`);
      const taller = [shape[0] + 1, ...shape.slice(1)];
      const zeros = new Float32Array(sizeOf(taller));
      const misshapen: TensorToWrite = {
        name,
        shape: taller,
        dtype: "F32",
        values: () => Promise.resolve(zeros),
      };
      await refuse([...others, misshapen], `has shape [${taller}], config.json asks for [${shape}]`);
      await refuse([...others, { ...stored[0], name, shape: [66] }], "has shape [66]");
    }
    await refuse([...stored, { ...stored[1], name: "score.weight" }], '"score.weight", which a ');
    await refuse([...stored, { ...stored[1], name: "constructor" }], '"constructor", which a ');
    await refuse(storedTensors(modelType, { ...spec, numLayers: 2 }), "model of this config lacks");
    if (prefix !== "") {
      const doubled = { ...stored[0], name: stored[0].name.slice(prefix.length) };
      await refuse([...stored, doubled], "has both");
    }
  });
}

Deno.test("readWeights() finds GPT-NeoX's head under its newer name", async () => {
  const spec = tinySpec("gpt_neox");
  const stored = storedTensors("gpt_neox", spec);
  const newer = named(stored, (name) => name.replace("embed_out", "lm_head"));
  assertEquals(
    weights("gpt_neox", await source(newer), spec),
    weights("gpt_neox", await source(stored), spec),
  );
  const both = await source([...stored, newer[newer.length - 1]]);
  assertThrows(
    () => weights("gpt_neox", both, spec),
    UserError,
    'has both "embed_out.weight" and "lm_head.weight"',
  );
});

function find(all: readonly NamedValues[], name: string): Float32Array {
  const found = all.find((tensor) => tensor.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found.values;
}

Deno.test("readWeights() turns GPT-2's matrices to (out, in)", () => {
  using file = openModelFolder(folderOf("gpt2"));
  const ours = find(weights("gpt2", file, specOf("gpt2")), "blocks.1.mlp.up.weight"); // (192, 48)
  const stored = file.read("transformer.h.1.mlp.c_fc.weight"); // (48, 192)
  for (const [out, input] of [[0, 1], [191, 47], [100, 3]]) {
    assertEquals(ours[out * 48 + input], stored[input * 192 + out]);
  }
});

Deno.test("readWeights() takes queries, keys and values of BLOOM and GPT-NeoX apart", () => {
  const cases = [
    ["bloom", "transformer.h.1.self_attention.query_key_value"],
    ["gpt_neox", "gpt_neox.layers.1.attention.query_key_value"],
  ];
  for (const [modelType, name] of cases) {
    using file = openModelFolder(folderOf(modelType));
    const { modelDim: C, numHeads: NH, headDim: HS } = specOf(modelType);
    const all = weights(modelType, file, specOf(modelType));
    const [weight, bias] = ["weight", "bias"].map((kind) => find(all, `blocks.1.attn.qkv.${kind}`));
    const [storedWeight, storedBias] = ["weight", "bias"].map((kind) => file.read(`${name}.${kind}`));
    for (const [head, part, at] of [[0, 0, 1], [1, 0, 0], [NH - 1, 2, HS - 1], [1, 1, 3], [2, 2, 0]]) {
      const [ours, theirs] = [(part * NH + head) * HS + at, (head * 3 + part) * HS + at];
      assertEquals(bias[ours], storedBias[theirs]);
      assertEquals(weight.slice(ours * C, (ours + 1) * C), storedWeight.slice(theirs * C, (theirs + 1) * C));
    }
  }
});

Deno.test("readWeights() puts the pieces of LLaMA and T5 one after the other, the gate last", () => {
  const cases: [string, string, string[]][] = [
    ["llama", "blocks.1.attn.qkv.weight", ["q", "k", "v"].map((x) => `model.layers.1.self_attn.${x}_proj`)],
    ["llama", "blocks.0.mlp.up.weight", ["up", "gate"].map((x) => `model.layers.0.mlp.${x}_proj`)],
    [
      "t5",
      "encoder.blocks.1.attn.qkv.weight",
      ["q", "k", "v"].map((x) => `encoder.block.1.layer.0.SelfAttention.${x}`),
    ],
    ["t5", "blocks.1.cross.q.weight", ["decoder.block.1.layer.1.EncDecAttention.q"]],
    ["t5", "blocks.1.cross.kv.weight", ["k", "v"].map((x) => `decoder.block.1.layer.1.EncDecAttention.${x}`)],
    [
      "t5",
      "encoder.blocks.0.mlp.up.weight",
      ["wi_1", "wi_0"].map((x) => `encoder.block.0.layer.1.DenseReluDense.${x}`),
    ],
    [
      "t5",
      "blocks.0.mlp.up.weight",
      ["wi_1", "wi_0"].map((x) => `decoder.block.0.layer.2.DenseReluDense.${x}`),
    ],
  ];
  for (const [modelType, name, parts] of cases) {
    using file = openModelFolder(folderOf(modelType));
    const stored = parts.flatMap((part) => [...file.read(`${part}.weight`)]);
    assertEquals([...find(weights(modelType, file, specOf(modelType)), name)], stored, name);
  }
});

Deno.test("tensors() knows T5 1.0, and LLaMA with biases and an odd head size", () => {
  const names = (modelType: string, spec: ModelSpec) =>
    familyOf(modelType).tensors(spec).flatMap(({ pieces }) => pieces.map(({ name }) => name));
  const t5 = names("t5", tinySpec("t5", { activation: "relu", tied: true, scaleOutput: true }));
  assert(t5.includes("encoder.block.0.layer.1.DenseReluDense.wi.weight"));
  assert(!t5.some((name) => name.includes("wi_") || name.startsWith("lm_head")));
  const llama = tinySpec("llama", { bias: true });
  assert(names("llama", llama).includes("model.layers.0.self_attn.o_proj.bias"));
  assertEquals(names("llama", llama).length - names("llama", tinySpec("llama")).length, 7);
  const kv = familyOf("llama").tensors(llama).flatMap(({ pieces }) => pieces)
    .find(({ name }) => name.endsWith("v_proj.weight"));
  assertEquals(kv?.shape, [10, 6]);
});

Deno.test("readWeights() reads what shards hold", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const spec = tinySpec("bloom");
    const stored = storedTensors("bloom", spec);
    const parts = [stored.slice(0, 3), stored.slice(3)];
    const weightMap: Record<string, string> = {};
    for (const [i, part] of parts.entries()) {
      const file = `model-0000${i + 1}-of-00002.safetensors`;
      Deno.writeFileSync(join(folder, file), await encodeSafetensors(part));
      for (const { name } of part) weightMap[name] = file;
    }
    const index = { metadata: { total_size: 1 }, weight_map: weightMap };
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    using shards = openModelFolder(folder);
    assertEquals(weights("bloom", shards, spec), weights("bloom", await source(stored), spec));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("swapAxes() swaps the first two of three axes", () => {
  assertEquals([...swapAxes(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
  assertEquals([...swapAxes(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), 2, 2)], [1, 2, 5, 6, 3, 4, 7, 8]);
  assertEquals([...swapAxes(Float32Array.of(7), 1, 1)], [7]);
  const values = Float32Array.from({ length: 65 * 3 * 5 }, (_, i) => i);
  assertEquals(swapAxes(swapAxes(values, 65, 3), 3, 65), values);
});

Deno.test("joinPieces() puts parts that end anywhere where they belong", () => {
  const tensors: HfTensor[] = [
    { name: "rows", shape: [5, 3], pieces: [{ name: "a", shape: [2, 3] }, { name: "b", shape: [3, 3] }] },
    { name: "turned", shape: [5, 7], pieces: [{ name: "c", shape: [7, 5], swap: [7, 5] }] },
    { name: "heads", shape: [12, 3], pieces: [{ name: "d", shape: [12, 3], swap: [2, 3] }] },
  ];
  const values = (piece: Piece) => Float32Array.from({ length: sizeOf(piece.shape) }, (_, i) => i + 1);
  for (const tensor of tensors) {
    const expected = tensor.pieces.flatMap((piece) => [
      ...piece.swap === undefined ? values(piece) : swapAxes(values(piece), ...piece.swap),
    ]);
    for (const size of [1, 2, 4, 5, 100]) {
      const buffer = new Float32Array(size); // overwritten, as a source does
      const joined = joinPieces(tensor, function* (piece) {
        for (let at = 0; at < sizeOf(piece.shape); at += size) {
          const part = values(piece).subarray(at, at + size);
          buffer.set(part);
          yield buffer.subarray(0, part.length);
        }
      });
      assertEquals([...joined], expected, `${tensor.name} by ${size}`);
    }
  }
});

Deno.test("tensorsToWrite() reads a parameter once for all of its pieces, and holds none of them longer", async () => {
  const spec = tinySpec("llama");
  const reads: string[] = [];
  const written = tensorsToWrite(familyOf("llama").tensors(spec), (name) => {
    reads.push(name);
    const parameter = familyOf("llama").tensors(spec).find((tensor) => tensor.name === name)!;
    return Promise.resolve(new Float32Array(sizeOf(parameter.shape)).fill(reads.length));
  });
  const names = modelParameters(spec).map(({ name }) => name).sort();
  for (const _ of ["once", "again"]) {
    const values = new Map<string, number>();
    for (const { name, values: read } of written) {
      values.set(name, (await read() as Uint8Array).slice().buffer.byteLength);
    }
    assertEquals(reads.splice(0).sort(), names);
    assertEquals([...values.values()], written.map(({ shape }) => 4 * sizeOf(shape)));
  }
});

Deno.test("encodeValues() rounds to the nearest, ties to even, and refuses what does not fit", () => {
  const decode = (values: number[], dtype: "F32" | "F16" | "BF16") => {
    const bytes = encodeValues(Float32Array.from(values), dtype, "x").slice();
    if (dtype === "F32") return [...new Float32Array(bytes.buffer)];
    if (dtype === "F16") return [...new Float16Array(bytes.buffer)];
    return [
      ...new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (bits) => bits << 16).buffer),
    ];
  };
  const exact = [0, -0, 1, -2.5, 2 ** -14, Infinity, -Infinity, NaN];
  for (const dtype of ["F32", "F16", "BF16"] as const) assertEquals(decode(exact, dtype), exact);
  const [bf, half] = [2 ** -8, 2 ** -11]; // half a step above 1
  assertEquals(decode([1 + bf, 1 + 3 * bf, 1 + bf + 2 ** -20, -1 - bf], "BF16"), [
    1,
    1 + 4 * bf,
    1 + 2 * bf,
    -1,
  ]);
  assertEquals(decode([1 + half, 1 + 3 * half, 65519], "F16"), [1, 1 + 4 * half, 65504]);
  assertEquals(decode([2 ** -140], "BF16"), [0]);
  assertThrows(() => decode([65520], "F16"), UserError, '"x" holds 65520, more than float16 can');
  assertThrows(() => decode([-3.4e38], "BF16"), UserError, "more than bfloat16 can");
});
