import { z } from "zod";
import { metaspacePreTokenizer } from "./metaspace.ts";
import { patternSchema, regExpOf, SPACE } from "./oniguruma.ts";
import { gpt2PreTokenizer, isolate, type PreTokenizer, sequence } from "./preTokenizer.ts";
import type { Step, TokenizerFile } from "./tokenizerFile.ts";

/** How a text becomes the pieces that the model is asked about. */
export interface Pieces {
  readonly cut: PreTokenizer;
  /** Are pieces written in the byte alphabet for the model? */
  readonly isByteLevel: boolean;
  /** Matches an index between a character and white space across which no piece ever goes; null: there may be none. */
  readonly boundary: RegExp | null;
}

/** A step, and where no piece of it goes on. */
export interface Cut {
  readonly cut: PreTokenizer;
  /** The characters, in a pattern, that are the last of their piece if white space follows; null: none is for certain. */
  readonly endsAfter: string | null;
  /** Does only U+0020 count as white space? */
  readonly isSpaceOnly?: boolean;
  readonly isByteLevel?: boolean;
}

const splitSchema = z.object({
  pattern: patternSchema,
  behavior: z.string(),
  invert: z.boolean().default(false),
});
const byteLevelSchema = z.object({
  add_prefix_space: z.boolean().default(true),
  use_regex: z.boolean().default(true),
});

/** In the patterns in use words don't go on into white space. */
export const WORD = "[\\p{L}\\p{N}]";

const PRE_TOKENIZERS: Readonly<Record<string, (step: Step, file: TokenizerFile) => Cut>> = {
  Split(step, file) {
    const { pattern, behavior, invert } = file.read(splitSchema, step);
    if (behavior !== "Isolated" || invert) {
      throw file.refuse(`a pre_tokenizer Split with ${behavior}, invert ${invert}`);
    }
    return { cut: isolate(regExpOf(pattern, file)), endsAfter: WORD };
  },
  ByteLevel(step, file) {
    const { add_prefix_space: prepends, use_regex: words } = file.read(byteLevelSchema, step);
    const prefix: PreTokenizer = (text) => [text.startsWith(" ") ? text : ` ${text}`];
    return {
      cut: sequence([...prepends ? [prefix] : [], ...words ? [gpt2PreTokenizer] : []]),
      endsAfter: words ? "\\P{White_Space}" : null,
      isSpaceOnly: prepends,
      isByteLevel: true,
    };
  },
  WhitespaceSplit: () => ({
    cut: (text) => text.match(/\P{White_Space}+/gu) ?? [],
    endsAfter: WORD,
  }),
  Metaspace(step, file) {
    const { cut, isCutting } = metaspacePreTokenizer(step, file);
    return { cut, endsAfter: isCutting ? WORD : null, isSpaceOnly: true };
  },
};

/** Reads a pre-tokenizer's steps. @throws UserError for a type that is not in the table */
export function readPreTokenizer(file: TokenizerFile): Cut[] {
  const cuts = file.flatten(file.json.pre_tokenizer, "pretokenizers")
    .map((step) => file.look(PRE_TOKENIZERS, step, "pre_tokenizer")(step, file));
  if (cuts.slice(0, -1).some(({ isByteLevel }) => isByteLevel)) {
    throw file.refuse("a pre_tokenizer after ByteLevel");
  }
  return cuts;
}

/** Steps one after the other; none leaves a text in one piece. */
export function piecesOf(cuts: readonly Cut[], file: TokenizerFile): Pieces {
  return {
    cut: sequence(cuts.map(({ cut }) => cut)),
    isByteLevel: cuts.at(-1)?.isByteLevel ?? false,
    boundary: boundaryOf(cuts, file),
  };
}

function boundaryOf(
  cuts: readonly Cut[],
  { json: { added_tokens: addedTokens } }: TokenizerFile,
): RegExp | null {
  const before = cuts.map(({ endsAfter }) => endsAfter).find((pattern) => pattern !== null);
  if (before === undefined) return null;
  const boundary = new RegExp(before + (cuts.some(({ isSpaceOnly }) => isSpaceOnly) ? " " : SPACE), "u");
  const isCrossed = addedTokens.some(({ content, rstrip }) => rstrip || boundary.test(content));
  return isCrossed ? null : boundary;
}
