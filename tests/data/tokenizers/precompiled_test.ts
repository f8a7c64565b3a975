import { assertEquals } from "@std/assert";
import { precompiledNormalizer } from "../../../src/data/tokenizers/precompiled.ts";
import { ENGLISH } from "./testTexts.ts";

const path = new URL("../../fixtures/tokenizers/t5/tokenizer.json", import.meta.url);
const { precompiled_charsmap: charsmap }: { precompiled_charsmap: string } =
  JSON.parse(Deno.readTextFileSync(path)).normalizer;
const normalize = precompiledNormalizer(charsmap)!;

Deno.test("precompiledNormalizer() writes what the table says", () => {
  assertEquals(normalize("ＡＢ４２（ﬁ）½…"), "AB42(fi)1⁄2...");
  assertEquals(normalize("a\tb\r\nc\u3000d\ufeff"), "a b c d ");
  assertEquals(normalize("\u200bzero\u200b\u00adwidth\x07"), "zerowidth");
  assertEquals(normalize("e\u0301 o\u0308 a\u0323"), "é ö ạ");
});

Deno.test("precompiledNormalizer() leaves the rest as it is", () => {
  const plain = ENGLISH.replaceAll(/[\t\n]/g, " ");
  for (const text of ["", plain, "日本 한글 🙂👍🏽 x\u0301", "\u0000"]) assertEquals(normalize(text), text);
});

Deno.test("precompiledNormalizer() has the shortest entry stand for a short grapheme, as the library does", () => {
  assertEquals(normalize("ﬁ\u0301n"), "fin"); // 5 bytes: the entry of ﬁ, though there is one of both
  assertEquals(normalize("ﬁ\u0301\u0302n"), "fi\u0301\u0302n"); // 7 bytes: character by character
});

Deno.test("precompiledNormalizer() refuses a damaged table", () => {
  const size = (bytes: number, rest: number[]) => btoa(String.fromCharCode(bytes, 0, 0, 0, ...rest));
  const damaged = [
    "",
    "?",
    "AAAA",
    charsmap.slice(0, 400),
    size(8, [1, 2, 3, 4]),
    size(3, [1, 2, 3, 0, 0]),
    size(4, [1, 2, 3, 4, 65]),
  ];
  for (const table of damaged) assertEquals(precompiledNormalizer(table), null);
});
