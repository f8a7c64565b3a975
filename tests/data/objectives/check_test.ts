import { assertEquals, assertThrows } from "@std/assert";
import { checkObjective } from "../../../src/data/objectives/check.ts";
import type { Architecture, ObjectiveOptions } from "../../../src/data/objectives/objective.ts";
import {
  objectiveTokens,
  objectiveVocabSize,
  specialTokensOf,
  textEnds,
  vocabularyOf,
} from "../../../src/data/objectives/vocabulary.ts";
import { bytesTokenizer } from "../../../src/data/tokenizers/bytes.ts";
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
  const { start, end, sentinel } = objectiveTokens({ vocabSize: 300, endOfText: 7 });
  assertEquals([start, end, sentinel(0), sentinel(2)], [7, 7, 300, 302]);
});

Deno.test("objectiveTokens() takes what the model has before it makes ids of its own", () => {
  const vocabulary = { vocabSize: 300, endOfText: 1, decoderStart: 0, sentinels: [299, 298] };
  const { start, end, sentinel } = objectiveTokens(vocabulary);
  assertEquals([start, end, sentinel(0), sentinel(1), sentinel(2), sentinel(3)], [0, 1, 299, 298, 300, 301]);
  const size = (seqLen: number) =>
    objectiveVocabSize(vocabulary, { architecture: "encoderDecoder", objective: ofKind("span"), seqLen });
  assertEquals([size(16), size(60)], [300, 302]); // 2 sentinels, and 4
  const late = { ...vocabulary, decoderStart: 310 };
  assertEquals(objectiveTokens(late).sentinel(2), 311);
  const prefix = { architecture: "encoderDecoder", objective: ofKind("prefix"), seqLen: 16 } as const;
  assertEquals(objectiveVocabSize(late, prefix), 311);
  assertEquals(objectiveVocabSize(late, { ...prefix, architecture: "causalDecoder" }), 300);
});

Deno.test("specialTokensOf() is what the weights' config.json says, and else the tokenizer's", () => {
  const tokenizer = { vocabSize: 300, endOfText: 2, sentinels: [] };
  const [bos_token_id, pad_token_id, decoder_start_token_id] = [1, null, 5];
  const llama = { bos_token_id, eos_token_id: [2, 7], pad_token_id, decoder_start_token_id: null };
  assertEquals(specialTokensOf(tokenizer, llama), { ...llama, decoder_start_token_id: 2 });
  const t5 = { bos_token_id: null, eos_token_id: null, pad_token_id: 0, decoder_start_token_id };
  assertEquals(specialTokensOf(tokenizer, t5), { ...t5, eos_token_id: 2 });
  const fresh = { bos_token_id: 2, eos_token_id: 2, pad_token_id: null, decoder_start_token_id: 2 };
  assertEquals(specialTokensOf(tokenizer, null), fresh);
  assertEquals(specialTokensOf(bytesTokenizer(), null).decoder_start_token_id, 256);
  assertEquals(textEnds(tokenizer, { ...llama, eos_token_id: [7, 8] }), [7, 8, 2]);
  assertEquals(vocabularyOf(tokenizer, { ...llama, eos_token_id: [7, 8] }).endOfText, 7);
});
