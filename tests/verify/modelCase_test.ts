import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { verifyFolder } from "../../src/verify/caseFolder.ts";
import type { Comparison } from "../../src/verify/comparison.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { testGpu } from "../_gpu.ts";
import { modelFolders } from "../formats/support.ts";
import { editJson, editTensors, FIXTURES, withCopy } from "./brokenCopies.ts";

async function verify(folder: string, maxBinding: number | null = null): Promise<Comparison[]> {
  const { device } = await testGpu();
  return await Array.fromAsync(verifyFolder(folder, { device, maxBinding }));
}

const STUDY = "study/learned-gelu";

for (const folder of modelFolders()) {
  const name = folder.slice(FIXTURES.length + 1);
  Deno.test(`verifyFolder() finds ${name} right, all quantities of it`, async () => {
    const comparisons = await verify(folder);
    assertEquals(comparisons.filter(({ ok }) => !ok), []);
    const byCase = Map.groupBy(comparisons, (comparison) => comparison.case);
    const spellings = name.startsWith("hf/") ? [name, `${name} (config.alt.json)`] : [name];
    assertEquals([...byCase.keys()], spellings);
    using weights = openSafetensors(join(folder, "model.safetensors"));
    using reference = openSafetensors(join(folder, "reference.safetensors"));
    for (const quantities of byCase.values()) {
      const names = new Set(quantities.map(({ quantity }) => quantity));
      const expected = ["logits", "loss", "cross_entropy", "losses", "grad_norms", "lrs"];
      expected.push(...weights.tensors.keys().map((tensor) => `grad.${tensor}`));
      expected.push(...reference.tensors.keys().filter((tensor) => tensor.startsWith("final.")));
      assertEquals(names, new Set(expected));
      for (const { maxError, tolerance } of quantities) assert(maxError <= tolerance && tolerance > 0);
    }
  });
}

Deno.test("verifyFolder() finds a study model right in windows", async () => {
  for (const maxBinding of [65536, 16384]) {
    const comparisons = await verify(join(FIXTURES, STUDY), maxBinding);
    assertEquals(comparisons.filter(({ ok }) => !ok), []);
  }
});

Deno.test("verifyFolder() finds what is wrong, and nothing else", async () => {
  await withCopy(STUDY, async (folder) => {
    await editTensors(join(folder, "reference.safetensors"), {
      logits: { at: 700, value: 9 },
      "grad.blocks.1.mlp.up.bias": { at: 51, value: 1 },
      losses: { at: 9, value: 1 },
    });
    const outside = (await verify(folder)).filter(({ ok }) => !ok);
    const names = ["logits", "grad.blocks.1.mlp.up.bias", "losses"];
    assertEquals(outside.map(({ quantity }) => quantity), names);
    for (const { maxError, tolerance } of outside) assert(maxError > 1000 * tolerance);
  });
});

Deno.test("verifyFolder() tells results that are no numbers", async () => {
  await withCopy(STUDY, async (folder) => {
    // Finite in the file, infinite in the first product.
    await editTensors(join(folder, "model.safetensors"), { "blocks.0.attn.qkv.weight": { value: 3e38 } });
    const comparisons = await verify(folder);
    const wrong = comparisons.filter(({ maxError }) => maxError === Infinity).map(({ quantity }) => quantity);
    for (const name of ["logits", "loss", "losses", "grad_norms", "grad.tok_emb"]) {
      assert(wrong.includes(name), name);
    }
    assertEquals(comparisons.find(({ quantity }) => quantity === "lrs")?.ok, true);
  });
});

Deno.test("verifyFolder() names what does not exist", async () => {
  await withCopy(STUDY, async (folder) => {
    editJson(join(folder, "config.json"), { positions: "xpos" });
    await assertRejects(() => verify(folder), UserError, 'positions is "xpos", expected one of');
  });
  await withCopy("hf/bloom", async (folder) => {
    editJson(join(folder, "config.json"), { model_type: "mamba" });
    await assertRejects(() => verify(folder), UserError, 'model_type is "mamba", expected one of "gpt2"');
  });
});

Deno.test("verifyFolder() names an option of GPT-2 that does not exist, and the spelling that has it", async () => {
  await withCopy("hf/gpt2", async (folder) => {
    editJson(join(folder, "config.alt.json"), { scale_attn_by_inverse_layer_idx: true });
    const seen: string[] = [];
    const run = async () => {
      for await (const comparison of verifyFolder(folder)) seen.push(comparison.case);
    };
    const error = await assertRejects(run, UserError, "scale_attn_by_inverse_layer_idx is true");
    assertStringIncludes(error.message, "(config.alt.json): ");
    assertEquals(new Set(seen).size, 1); // the first spelling
    editJson(join(folder, "config.json"), { activation_function: "tanh" });
    await assertRejects(() => verify(folder), UserError, 'activation_function is "tanh"');
  });
});

Deno.test("verifyFolder() refuses a damaged case in one line that names the file", async (t) => {
  type Break = (folder: string) => void | Promise<void>;
  const inReference = (changes: Parameters<typeof editTensors>[1]): Break => (folder) =>
    editTensors(join(folder, "reference.safetensors"), changes);
  const inModel = (changes: Parameters<typeof editTensors>[1]): Break => (folder) =>
    editTensors(join(folder, "model.safetensors"), changes);
  const truncate = (name: string, bytes: number): Break => (folder) =>
    Deno.truncateSync(join(folder, name), bytes);
  const without = (name: string): Break => (folder) => Deno.removeSync(join(folder, name));
  const cases: [string, Break, string][] = [
    ["no config", without("config.json"), "config.json"],
    ["no weights", without("model.safetensors"), "model.safetensors"],
    ["no reference", without("reference.safetensors"), "neither reference.safetensors nor cases.jsonl"],
    ["cut config", truncate("config.json", 100), "is not JSON"],
    ["cut weights", truncate("model.safetensors", 20000), "cut off"],
    ["cut reference", truncate("reference.safetensors", 20000), "cut off"],
    ["cut header", truncate("reference.safetensors", 100), "reference.safetensors"],
    ["empty weights", truncate("model.safetensors", 0), "model.safetensors"],
    ["no object", (folder) => Deno.writeTextFileSync(join(folder, "config.json"), "[1]"), "config.json"],
    ["no input", inReference({ input_ids: null }), 'lacks the tensor "input_ids"'],
    ["flat input", inReference({ input_ids: { shape: [48] } }), "expected rows of token ids"],
    ["other labels", inReference({ labels: { shape: [24, 2] } }), "has shape [24,2], expected [2,24]"],
    [
      "id outside",
      inReference({ input_ids: { at: 5, value: 61 } }),
      "holds the id 61 at 5, expected 0 to 60",
    ],
    ["negative id", inReference({ input_ids: { value: -100 } }), "holds the id -100 at 0, expected 0 to 60"],
    ["label outside", inReference({ labels: { value: -1 } }), "expected 0 to 60 or -100"],
    ["weight missing", inModel({ "final_norm.bias": null }), 'lacks the tensor "final_norm.bias"'],
    ["weight turned", inModel({ "blocks.0.mlp.up.weight": { shape: [36, 52] } }), "asks for [52,36]"],
    ["weight NaN", inModel({ pos_emb: { at: 3, value: NaN } }), "holds NaN"],
    [
      "one layer less",
      (folder) => editJson(join(folder, "config.json"), { numLayers: 1 }),
      "of this config lacks",
    ],
    ["short table", (folder) => editJson(join(folder, "config.json"), { seqLen: 23 }), "have 24 tokens"],
    ["unknown key", (folder) => editJson(join(folder, "config.json"), { depth: 2 }), '"depth"'],
    ["no loss", inReference({ loss: null }), 'lacks the tensor "loss"'],
    ["no losses", inReference({ losses: null }), 'lacks the tensor "losses"'],
    ["reference NaN", inReference({ logits: { value: NaN } }), "holds NaN"],
    [
      "no gradient",
      inReference({ "grad.pos_emb": null }),
      'lacks the tensor "grad.pos_emb"',
    ],
  ];
  for (const [name, damage, message] of cases) {
    await t.step(name, async () => {
      await withCopy(STUDY, async (folder) => {
        await damage(folder);
        const error = await assertRejects(() => verify(folder), UserError, message);
        assertEquals(error.message.split("\n").length, 1);
      });
    });
  }
});

Deno.test("verifyFolder() refuses what is no case", async () => {
  await assertRejects(
    () => verify("/nonexistent/case"),
    UserError,
    'Cannot read the folder "/nonexistent/case"',
  );
  await assertRejects(() => verify(join(FIXTURES, "README.md")), UserError, "Cannot read the folder");
  await assertRejects(() => verify(join(FIXTURES, "hf")), UserError, 'hf" has neither');
});
