import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { ngramBitsPerByte } from "../../src/data/ngramBaseline.ts";
import { ENGLISH } from "./tokenizers/testTexts.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

/** The docstring's formula, by string search. */
function plainProbability(train: string, context: string, next: string): number {
  const lower = context === "" ? 1 / 256 : plainProbability(train, context.slice(1), next);
  const followers = [...train].filter((_, i) =>
    i >= context.length && train.slice(i - context.length, i) === context
  );
  const different = new Set(followers).size;
  if (followers.length === 0) return lower;
  return (followers.filter((byte) => byte === next).length + different * lower) /
    (followers.length + different);
}

Deno.test("ngramBitsPerByte() is Witten and Bell's formula", () => {
  const [train, heldOut] = ["abracadabra abraca", "dabra, abrakadabra"];
  const text = train + heldOut;
  const expected = [0, 1, 2, 3, 4].map((order) => {
    let bits = 0;
    for (let i = train.length; i < text.length; i++) {
      bits -= Math.log2(plainProbability(train, text.slice(i - order, i), text[i]));
    }
    return bits / heldOut.length;
  });
  const found = ngramBitsPerByte(utf8(train), utf8(heldOut), [0, 1, 2, 3, 4]);
  found.forEach((bits, order) => assertAlmostEquals(bits, expected[order], 1e-12));
});

Deno.test("ngramBitsPerByte() knows nothing without a training text", () => {
  assertEquals(ngramBitsPerByte(utf8(""), utf8("any text"), [1, 3]), [8, 8]);
});

Deno.test("ngramBitsPerByte() holds more contexts than its first tables", () => {
  const train = utf8(
    Array.from({ length: 4000 }, (_, i) => `${i * 7919 % 10007}${ENGLISH[i % ENGLISH.length]}`).join(""),
  );
  const [two, four] = ngramBitsPerByte(train, train, [2, 4]);
  assert(two > four && four > 0);
});
