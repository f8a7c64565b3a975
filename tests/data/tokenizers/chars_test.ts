import { assertEquals, assertThrows } from "@std/assert";
import { trainChars } from "../../../src/data/tokenizers/chars.ts";
import { UserError } from "../../../src/errors.ts";
import { RANDOM_TEXTS } from "./testTexts.ts";

Deno.test("trainChars() orders characters by code point", () => {
  const tokenizer = trainChars("b🙂a\uffe5b");
  assertEquals(tokenizer.vocabSize, 4);
  assertEquals([...tokenizer.encode("ab\uffe5🙂a")], [0, 1, 2, 3, 0]);
});

Deno.test("trainChars() gives every text back", () => {
  const tokenizer = trainChars(RANDOM_TEXTS.join(""));
  for (const text of RANDOM_TEXTS) {
    const ids = tokenizer.encode(text);
    assertEquals(ids.length, [...text].length);
    assertEquals(tokenizer.decode(ids), text);
  }
});

Deno.test("encode() refuses a character outside of the vocabulary by name", () => {
  const tokenizer = trainChars("abc");
  assertThrows(() => tokenizer.encode("abé"), UserError, '"é" (U+00E9) at position 2');
  assertThrows(() => tokenizer.encode("🙂"), UserError, "U+1F642");
});
