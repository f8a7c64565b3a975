import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { verifyFolder } from "../../src/verify/caseFolder.ts";
import { editJson, FIXTURES, withCopy } from "./brokenCopies.ts";

const verify = (folder: string) => Array.fromAsync(verifyFolder(folder));

/** Changes the n-th line of a JSONL file. */
function editLine(path: string, n: number, change: (row: Record<string, unknown>) => object): void {
  const lines = Deno.readTextFileSync(path).split("\n");
  lines[n] = JSON.stringify(change(JSON.parse(lines[n])));
  Deno.writeTextFileSync(path, lines.join("\n"));
}

for (const name of ["gpt2", "bloom", "llama", "t5"]) {
  Deno.test(`verifyFolder() finds the tokenizer right: ${name}`, async () => {
    const comparisons = await verify(join(FIXTURES, "tokenizers", name));
    const quantities = ["cases.ids", "cases.tokens", "cases.decoded", "decode.decoded"];
    const framed = name === "llama" || name === "t5" ? ["cases.ids_with_special"] : [];
    assertEquals(
      comparisons,
      [...quantities, "decode.decoded_without_special", ...framed].map((quantity) => {
        return { case: `tokenizers/${name}`, quantity, maxError: 0, tolerance: 0, ok: true };
      }),
    );
  });
}

Deno.test("verifyFolder() counts the lines of a tokenizer's case that come out otherwise", async () => {
  await withCopy("tokenizers/gpt2", async (folder) => {
    editLine(join(folder, "cases.jsonl"), 3, (row) => ({ ...row, ids: [1] }));
    editLine(join(folder, "cases.jsonl"), 7, (row) => ({ ...row, tokens: ["x"], ids_with_special: [1] }));
    editLine(join(folder, "decode.jsonl"), 0, (row) => ({ ...row, decoded_without_special: "" }));
    const wrong = (await verify(folder)).map(({ quantity, maxError, ok }) => [quantity, maxError, ok]);
    assertEquals(wrong, [
      ["cases.ids", 1, false],
      ["cases.tokens", 1, false],
      ["cases.decoded", 1, false],
      ["decode.decoded", 0, true],
      ["decode.decoded_without_special", 1, false],
      ["cases.ids_with_special", 1, false],
    ]);
  });
});

Deno.test("verifyFolder() names what a tokenizer needs that does not exist", async () => {
  await withCopy("tokenizers/gpt2", async (folder) => {
    const path = join(folder, "tokenizer.json");
    editJson(path, { post_processor: { type: "BertProcessing" } });
    await assertRejects(() => verify(folder), UserError, "a post_processor of type BertProcessing");
    editJson(path, { model: { type: "WordPiece" } });
    await assertRejects(() => verify(folder), UserError, "a model of type WordPiece");
  });
});

Deno.test("verifyFolder() holds tokens and frames of a tokenizer with an unknown token", async () => {
  await withCopy("tokenizers/t5", async (folder) => {
    editLine(join(folder, "cases.jsonl"), 20, (row) => ({ ...row, tokens: ["x"] }));
    editLine(join(folder, "cases.jsonl"), 21, (row) => ({ ...row, ids_with_special: row.ids }));
    const wrong = (await verify(folder)).filter(({ ok }) => !ok).map((
      { quantity, maxError },
    ) => [quantity, maxError]);
    assertEquals(wrong, [["cases.tokens", 1], ["cases.ids_with_special", 1]]);
  });
});

Deno.test("verifyFolder() refuses a damaged tokenizer case in one line", async () => {
  const cases: [name: string, content: string | null, message: string][] = [
    ["tokenizer.json", null, "tokenizer.json"],
    ["tokenizer.json", '{"model"', "is not JSON"],
    ["decode.jsonl", null, "decode.jsonl"],
    ["decode.jsonl", "\n", "is empty"],
    ["cases.jsonl", '{"text": "a", "ids": [1]', "Line 1 of"],
    ["cases.jsonl", '{"text": "a", "ids": ["b"], "tokens": [], "decoded": ""}', "ids.0"],
  ];
  for (const [name, content, message] of cases) {
    await withCopy("tokenizers/gpt2", async (folder) => {
      if (content === null) Deno.removeSync(join(folder, name));
      else Deno.writeTextFileSync(join(folder, name), content);
      const error = await assertRejects(() => verify(folder), UserError, message);
      assertEquals(error.message.split("\n").length, 1);
    });
  }
});
