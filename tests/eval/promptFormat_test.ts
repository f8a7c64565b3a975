import { assertEquals, assertThrows } from "@std/assert";
import type { Architecture } from "../../src/data/objectives/objective.ts";
import type { Vocabulary } from "../../src/data/objectives/vocabulary.ts";
import { CAUSAL_ROWS, createRowFormat } from "../../src/data/rows.ts";
import { UserError } from "../../src/errors.ts";
import { createPromptFormat } from "../../src/eval/promptFormat.ts";

const COLUMNS = 12;
const TEXT = Int32Array.of(7, 3, 8, 1, 9);
const COMBINATIONS: [Architecture, "causal" | "prefix" | "span"][] = [
  ["causalDecoder", "causal"],
  ["causalDecoder", "prefix"],
  ["causalDecoder", "span"],
  ["nonCausalDecoder", "prefix"],
  ["nonCausalDecoder", "span"],
  ["encoderDecoder", "causal"],
  ["encoderDecoder", "prefix"],
  ["encoderDecoder", "span"],
];
const VOCABULARIES: Vocabulary[] = [
  { vocabSize: 20, endOfText: null },
  { vocabSize: 20, endOfText: 2 },
  { vocabSize: 20, endOfText: 2, decoderStart: 0, sentinels: [19, 18, 17] },
];

for (const [architecture, kind] of COMBINATIONS) {
  Deno.test(`ask() of ${architecture} is the beginning of its rows with objective ${kind}`, () => {
    for (const vocabulary of VOCABULARIES) {
      const objective = { ...CAUSAL_ROWS.objective, kind, noiseDensity: 0.2 }; // one token of five is masked: the last
      const rows = { architecture, objective, packing: CAUSAL_ROWS.packing, seqLen: COLUMNS, seed: 3 };
      const { inputs, targets, spans, source } = createRowFormat(rows, vocabulary).batch([
        { tokens: TEXT, documentStarts: [], sampleId: 0 },
      ]);
      // What was given of the text.
      const given = { causal: 2, prefix: 0, span: 4 }[kind] ||
        (source ? source.spans![1] : 1 + targets.findIndex((target) => target >= 0));
      const format = createPromptFormat({ architecture, objective, columns: COLUMNS }, vocabulary);
      const question = format.ask([...TEXT.subarray(0, given)]);
      const { tokens } = question;
      assertEquals(tokens, [...inputs.subarray(0, tokens.length)]);
      assertEquals(targets[tokens.length - 1], TEXT[given], "what follows the text follows");
      const seen = source?.spans?.[1];
      assertEquals(question.source, source ? [...source.inputs.subarray(0, seen)] : null);
      assertEquals(question.prefix, architecture === "nonCausalDecoder" ? spans![1] : 0);
      assertEquals(format.ends, vocabulary.endOfText === null ? [] : [2]);
      const isOwn = kind === "span" && vocabulary.sentinels !== undefined;
      assertEquals([16, 17, 19, 20].map(format.isText), [true, !isOwn, !isOwn, false]);
    }
  });
}

Deno.test("createPromptFormat() knows how much text has room", () => {
  const format = (architecture: Architecture, kind: "causal" | "prefix" | "span", columns: number) => {
    const { room, keep } = createPromptFormat(
      { architecture, objective: { kind }, columns },
      VOCABULARIES[0],
    );
    return [room, keep];
  };
  assertEquals(format("causalDecoder", "causal", 9), [9, 4]);
  assertEquals(format("causalDecoder", "causal", 1), [1, 1]);
  assertEquals(format("nonCausalDecoder", "prefix", 9), [9, 4]);
  assertEquals(format("nonCausalDecoder", "span", 9), [6, 3]);
  assertEquals(format("encoderDecoder", "causal", 9), [9, 4]);
  assertEquals(format("encoderDecoder", "prefix", 9), [9, 9]);
  assertEquals(format("encoderDecoder", "span", 3), [1, 1]);
  assertThrows(() => format("causalDecoder", "span", 3), UserError, "A context of 3 tokens has no room");
  assertThrows(() => format("encoderDecoder", "span", 2), UserError, "expected at least 3");
});

Deno.test("createPromptFormat() lets a model of spans close them, and no other one leave the text's ids", () => {
  for (const vocabulary of VOCABULARIES) {
    for (const [architecture, kind] of COMBINATIONS) {
      const { vocabSize } = createPromptFormat(
        { architecture, objective: { kind }, columns: COLUMNS },
        vocabulary,
      );
      const ends = vocabulary.endOfText === null ? 23 : vocabulary.sentinels === undefined ? 22 : 20; // <1> is below
      assertEquals(vocabSize, kind === "span" ? ends : 20);
    }
  }
});
