import { assert, assertEquals } from "@std/assert";
import { unigramModel } from "../../../src/data/tokenizers/unigram.ts";
import { Stream, uniform } from "../../../src/random.ts";

type Vocabulary = readonly (readonly [token: string, score: number])[];

/** The model by its definition: the best of all ways to cut `text`, in ids; -1 for an unknown character. */
function bestOfAll(text: string, vocabulary: Vocabulary): { score: number; ids: number[] } {
  if (text === "") return { score: 0, ids: [] };
  const last = [...text].at(-1)!;
  const ways = vocabulary.map(([token, score], id) => ({ token, score, id }))
    .filter(({ token }) => text.endsWith(token))
    .sort((a, b) => b.token.length - a.token.length);
  if (ways.at(-1)?.token !== last) {
    ways.push({ token: last, score: Math.min(...vocabulary.map(([, score]) => score)) - 10, id: -1 });
  }
  return ways.map(({ token, score, id }) => {
    const before = bestOfAll(text.slice(0, -token.length), vocabulary);
    return { score: before.score + score, ids: [...before.ids, id] };
  }).reduce((best, way) => way.score > best.score ? way : best);
}

/** Runs of -1 as one `unknown`. */
function fused(ids: readonly number[], unknown: number): number[] {
  return ids.filter((id, i) => id >= 0 || ids[i - 1] !== -1).map((id) => id < 0 ? unknown : id);
}

Deno.test("unigramModel() finds the best of all ways to cut", () => {
  const letters = ["a", "b", "é", "🙂"];
  const draw = (...counters: number[]) => uniform(3, Stream.test, counters[0], counters[1]);
  let unknowns = 0;
  for (let n = 0; n < 60; n++) {
    const word = (number: number, length: number) =>
      Array.from({ length }, (_, i) => letters[Math.floor(draw(100 * n + number, i) * 4)]).join("");
    const tokens = new Set(Array.from({ length: 12 }, (_, i) => word(i, 1 + Math.floor(i / 3)))); // of 1 to 4 letters
    const scored = [...tokens].map((token, i) => [token, -8 * draw(100 * n + 50, i)] as const);
    const vocabulary: Vocabulary = [["<unk>", 0], ...scored];
    const encode = unigramModel({ vocabulary, unknown: 0, byteFallback: false });
    for (let length = 0; length < 9; length++) {
      const text = word(60 + length, length);
      const { ids } = bestOfAll(text, vocabulary);
      if (ids.includes(-1)) unknowns++;
      assertEquals([...encode(text)], fused(ids, 0), `${text} with ${JSON.stringify(vocabulary)}`);
    }
  }
  assert(unknowns > 50);
});

Deno.test("unigramModel() weighs sums of scores, not single ones", () => {
  const vocabulary: Vocabulary = [
    ["<unk>", 0],
    ["▁", -2],
    ["a", -1.5],
    ["b", -2],
    ["▁a", -3],
    ["ab", -3.25],
    ["▁ab", -6],
  ];
  const encode = unigramModel({ vocabulary, unknown: 0, byteFallback: false });
  assertEquals([...encode("▁ab")], [4, 3]); // ▁a b -5, ▁ ab -5.25, ▁ a b -5.5, ▁ab -6
  assertEquals([...encode("ab")], [5]); // ab -3.25, a b -3.5
  assertEquals([...encode("aab")], [2, 5]);
  assertEquals([...encode("")], []);
});

Deno.test("unigramModel() takes of equals the one with the longest last token", () => {
  const vocabulary: Vocabulary = [["<unk>", 0], ["a", -1], ["aa", -2], ["aaa", -3]];
  assertEquals([...unigramModel({ vocabulary, unknown: 0, byteFallback: false })("aaaa")], [1, 3]);
});

Deno.test("unigramModel() has one token for a run of unknown characters, or the bytes of all", () => {
  const bytes = Array.from({ length: 256 }, (_, byte): [string, number] => {
    return [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, -30];
  });
  const vocabulary: Vocabulary = [["a", -1], ["<unk>", 0], ["xy", -9], ...bytes];
  const without = unigramModel({ vocabulary, unknown: 1, byteFallback: false });
  assertEquals([...without("aéxa")], [0, 1, 0]);
  assertEquals([...without("xyxéa")], [2, 1, 0]);
  const spelling = unigramModel({ vocabulary, unknown: 1, byteFallback: true });
  assertEquals([...spelling("aéxa")], [0, 0xc3 + 3, 0xa9 + 3, 0x78 + 3, 0]);
  const lacking = unigramModel({ vocabulary: vocabulary.slice(0, 150), unknown: 1, byteFallback: true });
  assertEquals([...lacking("éxa")], [1, 0]); // no token for the byte C3
});
