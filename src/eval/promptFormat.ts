import type { Architecture, ObjectiveOptions } from "../data/objectives/objective.ts";
import { type ObjectiveTokens, objectiveTokens, type Vocabulary } from "../data/objectives/vocabulary.ts";
import { type Frame, NO_FRAME } from "../data/tokenizers/tokenizer.ts";
import { UserError } from "../errors.ts";

/** How a model is asked to write on from a text. */
export interface PromptFormat {
  /** Ids below this are chosen from. */
  readonly vocabSize: number;
  /** Is an id text? With another one the model says that it has written what was asked for. */
  isText(id: number): boolean;
  /** Ids that end the text. */
  readonly ends: readonly number[];
  /** What surrounds a text that is given as text. */
  readonly frame: Frame;
  /** The most tokens of text that can be asked about, at least 1. */
  readonly room: number;
  /** How many of them, from the last, are asked about when a text has outgrown that. */
  readonly keep: number;
  /** @param text ids, 1 to `room` */
  ask(text: readonly number[]): Question;
}

/** What a model reads before it writes. */
export interface Question {
  /** What the encoder reads; null: there is none. */
  readonly source: readonly number[] | null;
  /** What the decoder reads; it writes on from there. */
  readonly tokens: readonly number[];
  /** How many of these, from the first, see one another both ways. */
  readonly prefix: number;
}

export interface PromptOptions {
  readonly architecture: Architecture;
  readonly objective: Pick<ObjectiveOptions, "kind">;
  /** Columns of the engine's rows, T. */
  readonly columns: number;
  /** Ids that end the text. Default: the vocabulary's end of text. */
  readonly ends?: readonly number[];
  /** What surrounds a text, `<s>` of LLaMA or `</s>` of T5. Default: nothing. */
  readonly frame?: Frame;
}

/**
 * Asks for what follows a text in the form of the rows that a model was trained on, see `createRowFormat`:
 *
 *     causal   text ...
 *     prefix   text | ...
 *     span     text <0> <end> | <0> ... <1>
 *
 * What stands before the bar is given: a non-causal decoder's tokens there see one another, an encoder reads them. A model
 * of masked spans is asked for a span at the end of the text, where its training always had one.
 *
 * @param vocabulary the tokenizer's
 * @throws UserError if there are too few columns for a token of text
 *
 * @example
 * ```ts
 * const format = createPromptFormat(
 *   { architecture: "encoderDecoder", objective: { kind: "prefix" }, columns: 8 },
 *   { vocabSize: 256, endOfText: 0 },
 * );
 * format.ask([7, 8, 9]); // { source: [7, 8, 9], tokens: [0], prefix: 0 }
 * ```
 */
export function createPromptFormat(
  { architecture, objective: { kind }, columns, ends, frame = NO_FRAME }: PromptOptions,
  vocabulary: Vocabulary,
): PromptFormat {
  const { vocabSize, endOfText, sentinels = [] } = vocabulary;
  const special = objectiveTokens(vocabulary);
  const { isGiven, behind, output } = FORMS[kind](special);
  const closesSpan = new Set(kind === "span" ? sentinels : []);
  const isRead = isGiven && architecture === "encoderDecoder";
  const overhead = behind.length + (isRead ? 0 : output.length);
  const room = columns - overhead;
  if (room < 1) {
    throw new UserError(
      `A context of ${columns} tokens has no room for a prompt, expected at least ${overhead + 1}`,
    );
  }
  return {
    vocabSize: kind === "span" ? Math.max(vocabSize, special.sentinel(1) + 1) : vocabSize,
    isText: (id) => id < vocabSize && !closesSpan.has(id),
    ends: ends ?? (endOfText === null ? [] : [endOfText]),
    frame,
    room,
    // What is written needs room of its own, unless an encoder reads the rest.
    keep: isRead ? room : Math.max(1, Math.floor(room / 2)),
    ask(text) {
      const given = [...text, ...behind];
      if (isRead) return { source: given, tokens: [special.start, ...output], prefix: 0 };
      return {
        source: architecture === "encoderDecoder" ? [special.end] : null,
        tokens: [...given, ...output],
        prefix: isGiven && architecture === "nonCausalDecoder" ? given.length : 0,
      };
    },
  };
}

/** What an objective has around a text. */
interface Form {
  /** Is the text given, so that no token of it is predicted? */
  readonly isGiven: boolean;
  /** What is given behind it. */
  readonly behind: readonly number[];
  /** What the model's output begins with. */
  readonly output: readonly number[];
}

const FORMS: Readonly<Record<ObjectiveOptions["kind"], (special: ObjectiveTokens) => Form>> = {
  causal: () => ({ isGiven: false, behind: [], output: [] }),
  prefix: () => ({ isGiven: true, behind: [], output: [] }),
  span: ({ end, sentinel }) => ({ isGiven: true, behind: [sentinel(0), end], output: [sentinel(0)] }),
};
