import { assertEquals, assertThrows } from "@std/assert";
import { checkObjective } from "../../../src/data/objectives/check.ts";
import type { Architecture, ObjectiveOptions } from "../../../src/data/objectives/objective.ts";
import { objectiveVocabSize, specialTokens } from "../../../src/data/objectives/vocabulary.ts";
import { UserError } from "../../../src/errors.ts";

const ARCHITECTURES = ["causalDecoder", "nonCausalDecoder", "encoderDecoder"] as const;
const KINDS = ["causal", "prefix", "span"] as const;
const ofKind = (kind: ObjectiveOptions["kind"]) => ({ kind, noiseDensity: 0.15, meanSpanLength: 3 });
const model = (architecture: Architecture, seqLen = 16, vocabSize: number | null = null) => ({
  architecture,
  seqLen,
  vocabSize,
});
const PACKED = { separate: true, restartPositions: true };
const WHOLE = { separate: false, restartPositions: false };
const BYTES = { vocabSize: 256, endOfText: null };

Deno.test("checkObjective() takes every combination but causal rows of a non-causal decoder", () => {
  for (const architecture of ARCHITECTURES) {
    for (const kind of KINDS) {
      const check = () => checkObjective(model(architecture), ofKind(kind), WHOLE, BYTES);
      if (architecture === "nonCausalDecoder" && kind === "causal") {
        assertThrows(check, UserError, "objective.kind is causal, but a nonCausalDecoder");
      } else check();
    }
  }
});

Deno.test("checkObjective() takes separate documents in causal rows of a causal decoder alone", () => {
  for (const architecture of ARCHITECTURES) {
    for (const kind of KINDS) {
      const check = () => checkObjective(model(architecture), ofKind(kind), PACKED, BYTES);
      if (architecture === "causalDecoder" && kind === "causal") check();
      else assertThrows(check, UserError, kind === "causal" ? architecture : "packing.separate is true");
    }
  }
  const restart = { separate: false, restartPositions: true };
  assertThrows(
    () => checkObjective(model("causalDecoder"), ofKind("causal"), restart, BYTES),
    UserError,
    "packing.restartPositions is true",
  );
});

Deno.test("checkObjective() says how long a row must be", () => {
  const check = (architecture: Architecture, kind: ObjectiveOptions["kind"], seqLen: number) => () =>
    checkObjective(model(architecture, seqLen), ofKind(kind), WHOLE, null);
  assertThrows(check("nonCausalDecoder", "prefix", 1), UserError, "model.seqLen is 1, expected at least 2");
  assertThrows(check("causalDecoder", "span", 4), UserError, "model.seqLen is 4, expected at least 5");
  assertThrows(
    check("encoderDecoder", "span", 2),
    UserError,
    "expected at least 3 for objective span on an encoderDecoder",
  );
  check("nonCausalDecoder", "prefix", 2)();
  check("causalDecoder", "span", 5)();
  check("encoderDecoder", "span", 3)();
  check("causalDecoder", "causal", 1)();
});

Deno.test("checkObjective() wants room for the ids that the objective adds", () => {
  // 16 columns: 2 sentinels and the end
  const check = (vocabSize: number) =>
    checkObjective(model("encoderDecoder", 16, vocabSize), ofKind("span"), WHOLE, BYTES);
  assertThrows(
    () => check(258),
    UserError,
    "model.vocabSize is 258, expected at least 259: 256 tokens of the tokenizer and 3 more",
  );
  check(259);
  checkObjective(model("causalDecoder", 16, 256), ofKind("causal"), WHOLE, BYTES);
});

Deno.test("objectiveVocabSize() counts a stand-in for the end of text only where it is needed and missing", () => {
  const sizes = (endOfText: number | null) =>
    KINDS.flatMap((kind) =>
      ARCHITECTURES.map((architecture) => {
        const context = { architecture, objective: ofKind(kind), seqLen: 16 };
        return objectiveVocabSize({ vocabSize: 300, endOfText }, context);
      })
    );
  assertEquals(sizes(null), [300, 300, 301, 300, 300, 301, 303, 303, 303]);
  assertEquals(sizes(7), [300, 300, 300, 300, 300, 300, 302, 302, 302]);
  assertEquals(specialTokens({ vocabSize: 300, endOfText: 7 }), { end: 7, firstSentinel: 300 });
});
