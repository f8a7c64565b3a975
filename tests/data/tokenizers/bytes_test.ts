import { assertEquals } from "@std/assert";
import { bytesTokenizer } from "../../../src/data/tokenizers/bytes.ts";
import { RANDOM_TEXTS } from "./testTexts.ts";

const tokenizer = bytesTokenizer();

Deno.test("bytesTokenizer() has the byte as its id", () => {
  assertEquals([...tokenizer.encode("hé\u0000🙂")], [104, 195, 169, 0, 240, 159, 153, 130]);
  assertEquals(tokenizer.vocabSize, 256);
  for (const text of RANDOM_TEXTS) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
});

Deno.test("decode() puts U+FFFD where TextDecoder does", () => {
  for (
    const bytes of [[0xc3], [0xa9, 65], [0xf0, 0x9f, 65], [0xed, 0xa0, 0x80], [0xff, 0xfe], [0xe2, 0x82]]
  ) {
    const expected = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
    assertEquals(tokenizer.decode(bytes), expected);
  }
  assertEquals(tokenizer.decode([0xef, 0xbb, 0xbf]), "\ufeff");
  assertEquals(tokenizer.decode([65, 256, 1000, 66]), "AB"); // ids of a padded vocabulary
});

Deno.test("decoder() holds back an incomplete character", () => {
  const decoder = tokenizer.decoder();
  assertEquals([240, 159, 153, 130, 65].map((id) => decoder.push(id)), ["", "", "", "🙂", "A"]);
  assertEquals(decoder.end(), "");
  assertEquals(decoder.push(0xc3) + decoder.end(), "\ufffd");
});

Deno.test("lastBoundary() never cuts a surrogate pair", () => {
  assertEquals(tokenizer.lastBoundary("ab"), 2);
  assertEquals(tokenizer.lastBoundary("a🙂"), 3);
  assertEquals(tokenizer.lastBoundary("a🙂".slice(0, 2)), 1);
});
