import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { readTokenizer } from "../../../src/data/tokenizers/load.ts";
import { countBytes } from "../../../src/data/tokenizers/tokenizer.ts";

const FIXTURES = fromFileUrl(new URL("../../fixtures/tokenizers/", import.meta.url));

interface Case {
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
}
interface DecodeCase {
  readonly ids: number[];
  readonly decoded: string;
  readonly decoded_without_special: string;
}

async function readLines<T>(path: string): Promise<T[]> {
  const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
  assert(lines.length >= 50, `${path} has ${lines.length} cases`);
  return lines.map((line) => JSON.parse(line) as T);
}

for (const name of ["gpt2", "bloom", "llama", "t5"]) {
  const folder = `${FIXTURES}${name}`;

  Deno.test(`readTokenizer() encodes as the tokenizers library does: ${name}`, async () => {
    const tokenizer = await readTokenizer(`${folder}/tokenizer.json`);
    for (const { text, ids, decoded } of await readLines<Case>(`${folder}/cases.jsonl`)) {
      assertEquals([...tokenizer.encode(text)], ids, JSON.stringify(text));
      assertEquals(tokenizer.decode(ids), decoded);
    }
  });

  Deno.test(`readTokenizer() decodes as the tokenizers library does: ${name}`, async () => {
    const tokenizer = await readTokenizer(`${folder}/tokenizer.json`);
    for (const row of await readLines<DecodeCase>(`${folder}/decode.jsonl`)) {
      assertEquals(tokenizer.decode(row.ids), row.decoded);
      assertEquals(tokenizer.decode(row.ids, { skipSpecial: true }), row.decoded_without_special);
      const streaming = tokenizer.decoder();
      assertEquals(row.ids.map((id) => streaming.push(id)).join("") + streaming.end(), row.decoded);
    }
  });

  Deno.test(`toJSON() gives the file back: ${name}`, async () => {
    const tokenizer = await readTokenizer(`${folder}/tokenizer.json`);
    assertEquals(tokenizer.toJSON(), JSON.parse(await Deno.readTextFile(`${folder}/tokenizer.json`)));
    assertEquals(tokenizer.decode([tokenizer.endOfText!]), name === "gpt2" ? "<|endoftext|>" : "</s>");
    const count = { gpt2: 10, llama: 4, t5: 6 }[name] ?? 0;
    const sentinels = Array.from({ length: count }, (_, i) => `<extra_id_${i}>`);
    assertEquals(tokenizer.sentinels.map((id) => tokenizer.decode([id])), sentinels);
    assertEquals(countBytes(tokenizer, tokenizer.sentinels), 12 * count);
    assertEquals(countBytes(tokenizer, tokenizer.sentinels, tokenizer.sentinels.slice(1)), count && 12);
  });
}
