/**
 * Ids that an objective needs beside those of text. A model that was made for them has tokens of its own: what starts a
 * decoder, what ends a text, T5's sentinels. What is missing is given ids behind the tokenizer's, in ascending order, so
 * that they stay what they are when the model's table is padded or its rows get longer: first a stand-in for the end of
 * text, then sentinels. No tokenizer knows those: they decode to nothing.
 */
import type { SpecialTokens } from "../../formats/hf/specialTokens.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { ObjectiveContext } from "./objective.ts";
import { sentinelCount } from "./span.ts";

/** What objectives know of a tokenizer and its model. */
export interface Vocabulary {
  /** The tokenizer's: its largest id + 1. */
  readonly vocabSize: number;
  /** Ends a text; null: there is no such token. */
  readonly endOfText: number | null;
  /** Starts what a decoder behind an encoder writes. Default: what ends a text. */
  readonly decoderStart?: number | null;
  /** The tokenizer's own sentinels, in the order of their use. Default: none. */
  readonly sentinels?: readonly number[];
}

export interface ObjectiveTokens {
  /** Ends an encoder's input. */
  readonly end: number;
  /** Starts what a decoder behind an encoder writes. */
  readonly start: number;
  /** The token that stands for the masked span i of a row. */
  sentinel(i: number): number;
}

type TextTokens = Pick<Tokenizer, "vocabSize" | "endOfText" | "sentinels">;

/** @param tokens those of the model's config.json; null: a new model */
export function vocabularyOf(tokenizer: TextTokens, tokens: SpecialTokens | null): Vocabulary {
  const [endOfText = null] = textEnds(tokenizer, tokens);
  const { vocabSize, sentinels } = tokenizer;
  return { vocabSize, endOfText, decoderStart: tokens?.decoder_start_token_id ?? null, sentinels };
}

/** The ids that end a text, the one that is written first. */
export function textEnds({ endOfText }: TextTokens, tokens: SpecialTokens | null): number[] {
  return [...new Set([tokens?.eos_token_id ?? [], endOfText ?? []].flat())];
}

/**
 * The special tokens of a model's config.json.
 *
 * @param from those of the model whose weights it starts with, which go on with them; null: it starts anew
 */
export function specialTokensOf(tokenizer: TextTokens, from: SpecialTokens | null): SpecialTokens {
  return {
    bos_token_id: from === null ? tokenizer.endOfText : from.bos_token_id,
    eos_token_id: from?.eos_token_id ?? tokenizer.endOfText,
    pad_token_id: from?.pad_token_id ?? null,
    decoder_start_token_id: objectiveTokens(vocabularyOf(tokenizer, from)).start,
  };
}

export function objectiveTokens(vocabulary: Vocabulary): ObjectiveTokens {
  const { vocabSize, endOfText, decoderStart, sentinels = [] } = vocabulary;
  const end = endOfText ?? vocabSize;
  const start = decoderStart ?? end;
  const firstNew = Math.max(vocabSize, end + 1, start + 1);
  return { end, start, sentinel: (i) => sentinels[i] ?? firstNew + i - sentinels.length };
}

/** The size of the vocabulary that a model of an objective needs: every id of its rows is below it. */
export function objectiveVocabSize(vocabulary: Vocabulary, context: ObjectiveContext): number {
  const { start, end, sentinel } = objectiveTokens(vocabulary);
  const { architecture, objective: { kind } } = context;
  const used: number[] = [];
  if (architecture === "encoderDecoder") used.push(kind === "causal" ? end : start);
  if (kind === "span") used.push(end, sentinel(sentinelCount(context) - 1));
  return Math.max(vocabulary.vocabSize, ...used.map((id) => id + 1));
}
