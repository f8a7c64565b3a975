import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { openModelFolder } from "../../src/formats/safetensors.ts";
import { folderOf } from "../formats/hf/support.ts";
import { inTempDir } from "../formats/support.ts";
import { runTask } from "./verbs.ts";

Deno.test("import takes a model in, and export writes it in files of a size and type", async () => {
  await inTempDir(async (folder) => {
    const imported = await runTask(
      "import",
      folderOf("gpt_neox"),
      "--runs",
      folder,
      "--name",
      "base",
      "--json",
    );
    assertEquals(imported.code, 0, imported.stderr);
    const record = JSON.parse(imported.stdout);
    assertEquals(record, { folder: `${folder}/base`, modelType: "gpt_neox", parameters: 87744 });
    assertStringIncludes(imported.stderr, "a gpt_neox model with 87,744 parameters");

    const out = join(folder, "out");
    const exported = await runTask(
      "export",
      `${folder}/base`,
      out,
      "--dtype",
      "f16",
      "--max-shard-size",
      "100KB",
    );
    assertEquals(exported.code, 0, exported.stderr);
    assertStringIncludes(exported.stdout, "model.safetensors.index.json");
    using shards = openModelFolder(out);
    using original = openModelFolder(folderOf("gpt_neox"));
    for (const [name, { dtype }] of shards.tensors) {
      assertEquals(dtype, "F16");
      const rounded = new Float32Array(new Float16Array(original.read(name)));
      assertEquals(shards.read(name), rounded, name);
    }
  });
});

Deno.test("import says that from= can't train on a model whose tokenizer is not understood", async () => {
  await inTempDir(async (folder) => {
    const source = join(folder, "source");
    await Deno.mkdir(source);
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(join(folderOf("gpt2"), name), join(source, name));
    }
    await Deno.writeTextFile(join(source, "tokenizer.json"), "x\n");
    const { code, stdout } = await runTask("import", source, "--runs", join(folder, "runs"));
    assertEquals(code, 0);
    assertStringIncludes(stdout, "tokenizer.json is not JSON: Unexpected token 'x', \"x\\u{a}\"");
    assertStringIncludes(stdout, "can't train on texts before it has a tokenizer.json that is understood");
    assertEquals(stdout.includes("train on it"), false);
  });
});

Deno.test("import and export refuse what they can't understand, in one line", async () => {
  const cases: [string, string[], string][] = [
    ["import", [], "Found no folder, expected the folder of one model"],
    ["import", ["/nowhere"], "Cannot read"],
    ["import", [folderOf("gpt2"), "--name", "../up"], "The model's name would be ../up"],
    ["export", ["runs/default"], "Found runs/default, expected a model and the folder to make"],
    ["export", [folderOf("gpt2"), "/tmp", "--dtype", "int8"], "--dtype is int8, expected f32, f16, bf16"],
    ["export", [folderOf("gpt2"), "/tmp", "--max-shard-size", "big"], 'Found the size "big"'],
    ["export", [folderOf("gpt2"), "/tmp"], "is there already"],
  ];
  const ran = await Promise.all(cases.map(([verb, args]) => runTask(verb, ...args)));
  for (const [i, { code, stdout, stderr }] of ran.entries()) {
    assertEquals([code, stdout, stderr.trimEnd().split("\n").length], [1, "", 1], stderr);
    assertStringIncludes(stderr, cases[i][2]);
  }
});
