/**
 * Ids that an objective needs beside the tokenizer's. They follow those, in ascending order, so that they stay what they
 * are when the model's table is padded or its rows get longer: first a stand-in for the end of text, where the tokenizer
 * has none, then the sentinels. No tokenizer knows them: they decode to nothing.
 */
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { ObjectiveContext } from "./objective.ts";
import { sentinelCount } from "./span.ts";

export type Vocabulary = Pick<Tokenizer, "vocabSize" | "endOfText">;

export interface SpecialTokens {
  /** Ends an encoder's input and starts a decoder's output: the tokenizer's end of text, or the id above all of its. */
  readonly end: number;
  /** Sentinel i is firstSentinel + i. */
  readonly firstSentinel: number;
}

export function specialTokens({ vocabSize, endOfText }: Vocabulary): SpecialTokens {
  const end = endOfText ?? vocabSize;
  return { end, firstSentinel: Math.max(vocabSize, end + 1) };
}

/** The size of the vocabulary that a model of an objective needs: every id of its rows is below it. */
export function objectiveVocabSize(vocabulary: Vocabulary, context: ObjectiveContext): number {
  const { firstSentinel } = specialTokens(vocabulary);
  if (context.objective.kind === "span") return firstSentinel + sentinelCount(context);
  return context.architecture === "encoderDecoder" ? firstSentinel : vocabulary.vocabSize;
}
