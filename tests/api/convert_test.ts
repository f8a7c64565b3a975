import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { exportModel, importModel } from "../../src/api/convert.ts";
import { charsTokenizer } from "../../src/data/tokenizers/chars.ts";
import { UserError } from "../../src/errors.ts";
import {
  encodeSafetensors,
  openModelFolder,
  openSafetensors,
  type TensorSource,
  type TensorToWrite,
} from "../../src/formats/safetensors.ts";
import { readModelSpec, readModelWeights } from "../../src/train/modelFiles.ts";
import { formatFor, ownFormat } from "../../src/train/modelFormat.ts";
import { CASES, folderOf, specOf } from "../formats/hf/support.ts";
import { inTempDir } from "../formats/support.ts";
import { editJson } from "../verify/brokenCopies.ts";

const TOO_LARGE = new URL("../fixtures/tokenizers/gpt2/tokenizer.json", import.meta.url);
const FITTING = JSON.stringify(charsTokenizer(["a", "b", "c"]).toJSON());

function expectSameTensors(found: TensorSource, expected: TensorSource): void {
  assertEquals([...found.tensors.keys()].sort(), [...expected.tensors.keys()].sort());
  for (const [name, { dtype, shape }] of expected.tensors) {
    assertEquals([found.tensors.get(name)?.dtype, found.tensors.get(name)?.shape], [dtype, shape], name);
    assertEquals(found.readBytes(name), expected.readBytes(name), name);
  }
}

/** A model's weights in other types; names may change too. */
async function rewrite(from: string, to: string, change: (tensor: TensorToWrite) => TensorToWrite | null) {
  using source = openModelFolder(from);
  const tensors = [...source.tensors].map(([name, { shape }]) =>
    change({ name, shape, dtype: "F32", values: () => Promise.resolve(source.read(name)) })
  );
  Deno.mkdirSync(to, { recursive: true });
  Deno.writeFileSync(
    join(to, "model.safetensors"),
    await encodeSafetensors(tensors.filter((tensor) => tensor !== null)),
  );
  Deno.copyFileSync(join(from, "config.json"), join(to, "config.json"));
}

/** Values that the type holds exactly. */
function stored(dtype: "F16" | "BF16"): (tensor: TensorToWrite) => TensorToWrite {
  return (tensor) => ({
    ...tensor,
    dtype,
    async values() {
      const values = Float32Array.from(await tensor.values() as Float32Array);
      const words = dtype === "F16"
        ? new Float16Array(values)
        : Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
      return new Uint8Array(words.buffer);
    },
  });
}

for (const name of CASES) {
  Deno.test(`${name}: what is imported and exported again has the same bytes`, async () => {
    await inTempDir(async (folder) => {
      const [imported, exported] = [join(folder, "runs", "model"), join(folder, "out")];
      const first = await importModel(folderOf(name), imported);
      assertEquals(first.modelType, formatFor(specOf(name)).modelType);
      assertEquals(first.files, ["config.json", "model.safetensors"]);
      assertEquals(first.noText.includes(`${imported}" has no tokenizer.json`), true, first.noText);
      assertEquals(readModelSpec(imported), specOf(name));
      const { files } = await exportModel(imported, exported, { maxShardBytes: 50_000 });
      assert(files.includes("model.safetensors.index.json"));
      assert(files.filter((file) => file.endsWith(".safetensors")).length > 2);
      using original = openModelFolder(folderOf(name));
      for (const path of [imported, exported]) {
        using copy = openModelFolder(path);
        expectSameTensors(copy, original);
      }
      const text = (path: string) => Deno.readTextFileSync(join(path, "config.json"));
      assertEquals(text(exported), text(imported));
    });
  });
}

Deno.test("importModel() changes no value where the pieces of a parameter have different types", async () => {
  await inTempDir(async (folder) => {
    const [source, imported] = [join(folder, "source"), join(folder, "imported")];
    // queries half as long as keys and values, which float16 can't hold
    await rewrite(
      folderOf("llama"),
      source,
      (tensor) => tensor.name.includes("q_proj") ? stored("F16")(tensor) : tensor,
    );
    await importModel(source, imported);
    using before = openModelFolder(source);
    using after = openModelFolder(imported);
    expectSameTensors(after, before);
  });
});

Deno.test("importModel() keeps short types, and reads names without prefix and a tied head's copy", async () => {
  await inTempDir(async (folder) => {
    for (const dtype of ["F16", "BF16"] as const) {
      const [source, imported, exported] = ["a", "b", "c"].map((name) => join(folder, dtype, name));
      await rewrite(folderOf("bloom"), source, (tensor) => {
        const name = tensor.name.replace("transformer.", "");
        // as published files have them: some tensors longer than others
        return { ...(name.includes("layernorm") ? tensor : stored(dtype)(tensor)), name };
      });
      await importModel(source, imported);
      await exportModel(imported, exported);
      using before = openModelFolder(source);
      using after = openModelFolder(exported);
      for (const [name, { dtype }] of before.tensors) {
        assertEquals(after.tensors.get(`transformer.${name}`)?.dtype, dtype, name);
        assertEquals(after.readBytes(`transformer.${name}`), before.readBytes(name), name);
      }
      const config = JSON.parse(Deno.readTextFileSync(join(exported, "config.json")));
      assertEquals(config.torch_dtype, { F16: "float16", BF16: "bfloat16" }[dtype]);
    }
  });
});

Deno.test("exportModel() stores what it is told to, and carries tokenizer and special tokens along", async () => {
  await inTempDir(async (folder) => {
    const [source, half, again] = ["source", "half", "again"].map((name) => join(folder, name));
    await rewrite(folderOf("llama"), source, (tensor) => tensor);
    Deno.writeTextFileSync(join(source, "tokenizer.json"), FITTING);
    Deno.writeTextFileSync(join(source, "generation_config.json"), "{}");
    editJson(join(source, "config.json"), { eos_token_id: [2, 5], pad_token_id: 9 });
    const { files, parameters, noText } = await exportModel(source, half, { dtype: "bf16" });
    assertEquals(files, ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]);
    assertEquals([parameters, noText], [71104, ""]);
    assertEquals(Deno.readTextFileSync(join(half, "tokenizer.json")), FITTING);
    const config = JSON.parse(Deno.readTextFileSync(join(half, "config.json")));
    assertEquals([config.bos_token_id, config.eos_token_id, config.pad_token_id], [1, [2, 5], 9]);
    using short = openSafetensors(join(half, "model.safetensors"));
    assert([...short.tensors.values()].every(({ dtype }) => dtype === "BF16"));
    for (const { values, name } of readModelWeights(source)) {
      const rounded = [...readModelWeights(half)].find((tensor) => tensor.name === name)!.values;
      assert(rounded.every((value, i) => Math.abs(value - values[i]) <= Math.abs(values[i]) / 256), name);
    }
    await exportModel(half, again, { dtype: "f32" });
    using long = openSafetensors(join(again, "model.safetensors"));
    for (const name of long.tensors.keys()) assertEquals(long.read(name), short.read(name));
  });
});

Deno.test("exportModel() takes what is in our own names to Hugging Face's, piece by piece", async () => {
  await inTempDir(async (folder) => {
    for (const name of CASES) {
      const [source, exported] = [join(folder, name, "own"), join(folder, name, "out")];
      const spec = specOf(name);
      Deno.mkdirSync(source, { recursive: true });
      const tensors = [...readModelWeights(folderOf(name))].map(({ name, shape, values }): TensorToWrite => ({
        ...{ name, shape, dtype: "F32" },
        values: () => Promise.resolve(values),
      }));
      Deno.writeFileSync(join(source, "model.safetensors"), await encodeSafetensors(tensors));
      const config = { model_type: "bloomery", ...ownFormat.writeConfig(spec, {}) };
      Deno.writeTextFileSync(join(source, "config.json"), JSON.stringify(config));
      await exportModel(source, exported);
      using original = openModelFolder(folderOf(name));
      using copy = openModelFolder(exported);
      expectSameTensors(copy, original);
      assertEquals(readModelSpec(exported), spec);
    }
  });
});

Deno.test("exportModel() refuses by name what Hugging Face can't express", async () => {
  await inTempDir(async (folder) => {
    const source = join(folder, "own");
    const spec = { ...specOf("gpt2"), norm: "rmsnorm", qkNorm: true } as const;
    const tensors = ownFormat.tensors(spec).map(({ name, shape }): TensorToWrite => ({
      ...{ name, shape, dtype: "F32" },
      values: () => Promise.resolve(new Float32Array(shape.reduce((a, b) => a * b, 1))),
    }));
    Deno.mkdirSync(source);
    Deno.writeFileSync(join(source, "model.safetensors"), await encodeSafetensors(tensors));
    const config = { model_type: "bloomery", ...ownFormat.writeConfig(spec, {}) };
    Deno.writeTextFileSync(join(source, "config.json"), JSON.stringify(config));
    const error = await assertRejects(() => exportModel(source, join(folder, "out")), UserError);
    assertEquals(
      error.message,
      "No architecture of Hugging Face that we write expresses this model: " +
        'the nearest, "gpt2", has no qkNorm=true, norm=rmsnorm',
    );
    assertEquals((await importModel(source, join(folder, "again"))).modelType, "bloomery");
    Deno.writeTextFileSync(join(folder, "again", "config.jsonc"), "{}");
    await assertRejects(
      () => importModel(join(folder, "again"), join(folder, "third")),
      UserError,
      "is a run, expected a folder with config.json and safetensors",
    );
    assertEquals(readModelSpec(join(folder, "again")), spec);
  });
});

Deno.test("importModel() refuses what is no model in one line, and leaves nothing behind", async (t) => {
  const cases: [string, (folder: string) => void | Promise<void>, string][] = [
    ["no folder", (folder) => Deno.removeSync(folder, { recursive: true }), "Cannot read"],
    ["no config", (folder) => Deno.removeSync(join(folder, "config.json")), "config.json"],
    [
      "no weights",
      (folder) => Deno.removeSync(join(folder, "model.safetensors")),
      "has neither model.safetensors",
    ],
    [
      "no JSON",
      (folder) => Deno.writeTextFileSync(join(folder, "config.json"), "{\n"),
      'config.json" is not JSON',
    ],
    ["no object", (folder) => Deno.writeTextFileSync(join(folder, "config.json"), "[1]"), "expected object"],
    [
      "no type",
      (folder) => editJson(join(folder, "config.json"), { model_type: undefined }),
      'model_type is missing, expected one of "gpt2"',
    ],
    [
      "unknown architecture",
      (folder) => editJson(join(folder, "config.json"), { model_type: "mamba" }),
      'model_type is "mamba", expected one of "gpt2"',
    ],
    [
      "another architecture",
      (folder) => editJson(join(folder, "config.json"), { model_type: "bloom" }),
      'lacks the tensor "transformer.word_embeddings.weight"',
    ],
    [
      "shapes that disagree",
      (folder) => editJson(join(folder, "config.json"), { vocab_size: 98 }),
      "has shape [97,64], config.json asks for [98,64]",
    ],
    [
      "heads that don't divide",
      (folder) => editJson(join(folder, "config.json"), { num_key_value_heads: 3 }),
      "num_attention_heads is 4, expected a multiple of num_key_value_heads (3)",
    ],
    ["a huge head", (folder) => editJson(join(folder, "config.json"), { head_dim: 512 }), "head_dim is 512"],
    [
      "fewer layers",
      (folder) => editJson(join(folder, "config.json"), { num_hidden_layers: 1 }),
      "which a llama model",
    ],
    [
      "more layers",
      (folder) => editJson(join(folder, "config.json"), { num_hidden_layers: 3 }),
      "lacks the tensor",
    ],
    [
      "tied",
      (folder) => editJson(join(folder, "config.json"), { tie_word_embeddings: true }),
      "set tie_word_embeddings",
    ],
    [
      "another model's tokenizer",
      (folder) => Deno.copyFileSync(TOO_LARGE, join(folder, "tokenizer.json")),
      "tokenizer.json\" has 1210 tokens, but the model knows 97: put the model's own there",
    ],
    ["tokens", (folder) => editJson(join(folder, "config.json"), { eos_token_id: "</s>" }), "eos_token_id"],
    ["cut off", (folder) => Deno.truncateSync(join(folder, "model.safetensors"), 90_000), "cut off"],
    ["integers", (folder) =>
      rewrite(folderOf("llama"), folder, (tensor) => ({
        ...tensor,
        dtype: "I32",
        values: async () => new Uint8Array((await tensor.values()).buffer),
      })), "is I32, expected one of F32"],
  ];
  for (const [name, damage, message] of cases) {
    await t.step(name, async () => {
      await inTempDir(async (folder) => {
        const source = join(folder, "source");
        await rewrite(folderOf("llama"), source, (tensor) => tensor);
        await damage(source);
        const runs = join(folder, "runs");
        const error = await assertRejects(() => importModel(source, join(runs, "model")), UserError, message);
        assertEquals(error.message.split("\n").length, 1);
        const left = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name === "runs");
        assertEquals(left.flatMap(() => [...Deno.readDirSync(runs)]), []);
      });
    });
  }
});

Deno.test("importModel() and exportModel() overwrite nothing, and stop where they are told to", async () => {
  await inTempDir(async (folder) => {
    const there = join(folder, "there");
    Deno.mkdirSync(there);
    await assertRejects(() => importModel(folderOf("gpt2"), there), UserError, "is there already");
    await assertRejects(() => exportModel(folderOf("gpt2"), there), UserError, "is there already");
    const controller = new AbortController();
    const stopped = importModel(folderOf("gpt2"), join(folder, "new"), {
      signal: controller.signal,
      onProgress: (done) => done === 5 && controller.abort(new Error("enough")),
    });
    await assertRejects(() => stopped, Error, "enough");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["there"]);
  });
});
