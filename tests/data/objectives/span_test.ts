import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import {
  type Architecture,
  createObjective,
  type Example,
  type ObjectiveContext,
} from "../../../src/data/objectives/objective.ts";
import { objectiveVocabSize } from "../../../src/data/objectives/vocabulary.ts";
import { drawer, Stream } from "../../../src/random.ts";

const TEXT_TOKENS = 1000;
const VOCABULARY = { vocabSize: TEXT_TOKENS, endOfText: null };
const END = TEXT_TOKENS;
const FIRST_SENTINEL = TEXT_TOKENS + 1;

const context = (
  seqLen: number,
  architecture: Architecture = "encoderDecoder",
  noiseDensity = 0.15,
  meanSpanLength = 3,
): ObjectiveContext => ({ architecture, seqLen, objective: { kind: "span", noiseDensity, meanSpanLength } });

const textOf = (length: number) => Uint16Array.from({ length }, (_, i) => (i * 37) % TEXT_TOKENS);

const exampleOf = (of: ObjectiveContext, text: Uint16Array, sample: number) =>
  createObjective(of, VOCABULARY).example(text, drawer(5, Stream.objective, sample));

const isSentinel = (id: number) => id >= FIRST_SENTINEL;

/** The text again, and what was masked; fails unless the sentinels of both halves come one after the other. */
function restore({ tokens, given }: Example): { text: number[]; spans: number[][] } {
  const inputs = [...tokens.subarray(0, given)];
  const targets = [...tokens.subarray(given)];
  assertEquals(inputs.pop(), END);
  const spans: number[][] = [];
  for (const id of targets.slice(0, -1)) {
    if (isSentinel(id)) assertEquals(id, FIRST_SENTINEL + spans.push([]) - 1);
    else spans.at(-1)!.push(id);
  }
  assertEquals(targets.at(-1), FIRST_SENTINEL + spans.length);
  let next = 0;
  const text = inputs.flatMap((id) => {
    if (!isSentinel(id)) return id;
    assertEquals(id, FIRST_SENTINEL + next);
    return spans[next++];
  });
  assertEquals(next, spans.length);
  return { text, spans };
}

Deno.test("span() has T5's lengths", () => {
  const row = context(512);
  const { windowLength } = createObjective(row, VOCABULARY);
  assertEquals(windowLength, 568);
  const { tokens, given } = exampleOf(row, textOf(windowLength), 0);
  assertEquals([given, tokens.length - given], [512, 114]);
  assertEquals(objectiveVocabSize(VOCABULARY, row), FIRST_SENTINEL + 29);
  // both in one row; its last token is a target alone
  assertEquals(createObjective(context(625, "causalDecoder"), VOCABULARY).windowLength, 568);
});

Deno.test("span() loses no token, whatever the lengths, density and spans", () => {
  for (const [density, mean] of [[0.15, 3], [0.5, 1], [0.5, 3], [0.9, 2.5], [0.01, 10]]) {
    for (const length of [2, 3, 4, 5, 7, 65, 97]) {
      const text = textOf(length);
      const row = context(200, "encoderDecoder", density, mean);
      for (let sample = 0; sample < 5; sample++) {
        const found = restore(exampleOf(row, text, sample));
        assertEquals(found.text, [...text]);
        assert(found.spans.every((masked) => masked.length > 0));
      }
    }
  }
});

Deno.test("span() fills its row as far as it can, and shorter texts fit, too", () => {
  for (const architecture of ["causalDecoder", "nonCausalDecoder", "encoderDecoder"] as const) {
    for (const [density, mean] of [[0.15, 3], [0.5, 1], [0.7, 2], [0.99, 1]]) {
      for (const seqLen of [5, 6, 7, 13, 65]) {
        const row = context(seqLen, architecture, density, mean);
        const { windowLength } = createObjective(row, VOCABULARY);
        const fits = (length: number) => {
          const { tokens, given } = exampleOf(row, textOf(length), length);
          const outputs = tokens.length - given;
          return architecture === "encoderDecoder"
            ? Math.max(given, outputs) <= seqLen
            : tokens.length - 1 <= seqLen;
        };
        for (let length = 2; length <= windowLength; length++) assert(fits(length));
        assert(!fits(windowLength + 1));
      }
    }
  }
});

Deno.test("span() says when not even two tokens fit", () => {
  assertEquals(createObjective(context(4, "causalDecoder"), VOCABULARY).windowLength, 0);
  assertEquals(createObjective(context(5, "causalDecoder"), VOCABULARY).windowLength, 2);
  assertEquals(createObjective(context(2), VOCABULARY).windowLength, 0);
  assertEquals(createObjective(context(3), VOCABULARY).windowLength, 2);
});

Deno.test("span() masks the density in spans of the mean length, each token but the ends about as often", () => {
  const text = textOf(97); // 14.55 and 5 spans: rounded to 15 and 5
  const row = context(97);
  const rows = 2000;
  const masked = new Float64Array(text.length);
  const lengths: number[] = [];
  for (let sample = 0; sample < rows; sample++) {
    const { spans } = restore(exampleOf(row, text, sample));
    assertEquals(spans.length, 5);
    assertEquals(spans.flat().length, 15);
    for (const id of spans.flat()) masked[text.indexOf(id)]++;
    lengths.push(...spans.map(({ length }) => length));
  }
  assertEquals(masked[0], 0);
  assertEquals(masked.at(-1), rows);
  // 15 items in 5 segments: a segment is of one token with probability C(13, 3) / C(14, 4) = 2/7
  const ones = lengths.filter((length) => length === 1).length / lengths.length;
  assertAlmostEquals(ones, 2 / 7, 5 * Math.sqrt(2 / 7 * 5 / 7 / rows));
  for (const count of masked.subarray(20, 70)) assertAlmostEquals(count / rows, 0.15, 0.05);
});

Deno.test("span() cuts every way as often", () => {
  // 8 tokens, 4 masked in 2 spans: 3 ways to cut the masked ones, 3 the kept ones
  const row = context(100, "encoderDecoder", 0.5, 2);
  const counts = new Map<string, number>();
  const rows = 4500;
  for (let sample = 0; sample < rows; sample++) {
    const key = exampleOf(row, textOf(8), sample).tokens.join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assertEquals(counts.size, 9);
  for (const count of counts.values()) {
    assertAlmostEquals(count, rows / 9, 5 * Math.sqrt(rows * 8 / 81));
  }
});

Deno.test("span() rounds half to even, as T5's code does", () => {
  const masked = (length: number, density: number, mean: number) => {
    const { spans } = restore(exampleOf(context(100, "encoderDecoder", density, mean), textOf(length), 0));
    return [spans.flat().length, spans.length];
  };
  assertEquals(masked(10, 0.25, 1), [2, 2]); // 2.5
  assertEquals(masked(14, 0.25, 1), [4, 4]); // 3.5
  assertEquals(masked(20, 0.5, 4), [10, 2]); // 2.5 spans
  assertEquals(masked(2, 0.01, 3), [1, 1]);
  assertEquals(masked(10, 0.9, 1), [9, 1]); // one kept token for each span
});

Deno.test("span() draws another mask for another sample", () => {
  const row = context(65);
  assertEquals(exampleOf(row, textOf(65), 1), exampleOf(row, textOf(65), 1));
  assertNotEquals(exampleOf(row, textOf(65), 1), exampleOf(row, textOf(65), 2));
});

Deno.test("span() marks with the sentinels that a tokenizer has, then with further ones", () => {
  const of = context(40);
  const { windowLength } = createObjective(of, VOCABULARY);
  const own = { vocabSize: TEXT_TOKENS, endOfText: 1, sentinels: [999, 998] };
  const rename = (id: number) => {
    if (id === END) return 1;
    const i = id - FIRST_SENTINEL;
    return i < 0 ? id : own.sentinels[i] ?? TEXT_TOKENS + i - 2;
  };
  const usual = exampleOf(of, textOf(windowLength), 3);
  const { tokens, given } = createObjective(of, own).example(
    textOf(windowLength),
    drawer(5, Stream.objective, 3),
  );
  assertEquals([...tokens], Array.from(usual.tokens, rename));
  assertEquals(given, usual.given);
  assert(tokens.includes(998) && tokens.includes(TEXT_TOKENS));
});
