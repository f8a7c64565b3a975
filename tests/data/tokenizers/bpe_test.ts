import { assert, assertEquals } from "@std/assert";
import { trainBpe } from "../../../src/data/tokenizers/bpeTrainer.ts";
import { gpt2PreTokenizer } from "../../../src/data/tokenizers/preTokenizer.ts";
import { ENGLISH, RANDOM_TEXTS, randomText } from "./testTexts.ts";

type Merge = readonly [left: number, right: number];

function mergeAll(ids: readonly number[], [left, right]: Merge, id: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) out.push(id), i++;
    else out.push(ids[i]);
  }
  return out;
}

/** BPE by its definition: counts everything anew for each merge. */
function plainMerges(text: string, vocabSize: number): Merge[] {
  let words = [...gpt2PreTokenizer(text)].map((word) => [...new TextEncoder().encode(word)]);
  const merges: Merge[] = [];
  while (256 + merges.length < vocabSize) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        counts.set(`${word[i]} ${word[i + 1]}`, (counts.get(`${word[i]} ${word[i + 1]}`) ?? 0) + 1);
      }
    }
    const parsed = [...counts].map(([key, count]) => ({ pair: key.split(" ").map(Number), count }));
    parsed.sort((a, b) => b.count - a.count || a.pair[0] - b.pair[0] || a.pair[1] - b.pair[1]);
    if (parsed.length === 0 || parsed[0].count < 2) break;
    const merge = [parsed[0].pair[0], parsed[0].pair[1]] as const;
    const id = 256 + merges.length;
    merges.push(merge);
    words = words.map((word) => mergeAll(word, merge, id));
  }
  return merges;
}

Deno.test("trainBpe() and encode() agree with BPE by its definition", () => {
  const texts = [ENGLISH, "aaaa aaaaa aaa aa", "abababab ababa", randomText(99, 400), "", "x"];
  for (const text of texts) {
    const merges = plainMerges(text, 256 + 60);
    const tokenizer = trainBpe(text, 256 + 60);
    assertEquals(tokenizer.vocabSize, 256 + merges.length);
    merges.forEach(([left, right], rank) => {
      const parts = [...tokenizer.bytesOf(left), ...tokenizer.bytesOf(right)];
      assertEquals([...tokenizer.bytesOf(256 + rank)], parts);
    });
    for (const sample of [text, ENGLISH, ...RANDOM_TEXTS]) {
      const expected = [...gpt2PreTokenizer(sample)].flatMap((word) =>
        merges.reduce((ids, merge, rank) => mergeAll(ids, merge, 256 + rank), [
          ...new TextEncoder().encode(word),
        ])
      );
      assertEquals([...tokenizer.encode(sample)], expected);
    }
  }
});

Deno.test("encode() of a BPE gives every text back", () => {
  const tokenizer = trainBpe(ENGLISH, 300);
  for (const text of [ENGLISH, "lowest __proto__ constructor", ...RANDOM_TEXTS]) {
    assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
  }
  assert(tokenizer.encode(ENGLISH).length < ENGLISH.length * 0.8);
});

Deno.test("encode() takes a lone surrogate as U+FFFD", () => {
  const tokenizer = trainBpe(ENGLISH, 300);
  assertEquals(tokenizer.encode("low\ud800"), tokenizer.encode("low\ufffd"));
  assertEquals(tokenizer.encode("low\ud800"), tokenizer.encode("low\ufffd")); // from the cache
});

Deno.test("encode() takes a long word without spaces in its stride", () => {
  const word = "lowerlow".repeat(20_000);
  const tokenizer = trainBpe(ENGLISH, 320);
  const ids = tokenizer.encode(word);
  assertEquals(tokenizer.decode(ids), word);
  assertEquals(ids.length, 20_000 * tokenizer.encode("lowerlow").length);
});

Deno.test("lastBoundary() cuts where the parts have the tokens of the whole", () => {
  const tokenizer = trainBpe(ENGLISH, 320);
  let cuts = 0;
  for (const text of [ENGLISH, ...RANDOM_TEXTS]) {
    for (let end = 0; end <= text.length; end++) {
      const cut = tokenizer.lastBoundary(text.slice(0, end));
      if (cut > 0) cuts++;
      const parts = [...tokenizer.encode(text.slice(0, cut)), ...tokenizer.encode(text.slice(cut))];
      assertEquals(parts, [...tokenizer.encode(text)]);
    }
  }
  assert(cuts > 100);
});
