import { SPACE } from "./oniguruma.ts";

/**
 * Cuts a text into pieces that the model never looks across.
 *
 * @param isFirst whether a user's text starts with this one
 */
export type PreTokenizer = (text: string, isFirst: boolean) => Iterable<string>;

/** GPT-2's pattern (Radford et al. 2019, encoder.py): contractions, words, numbers, other, white space. */
const GPT2 = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|${SPACE}+(?!\\P{White_Space})|${SPACE}+`,
  "gu",
);

/** GPT-2's words. The pieces together are the text. */
export const gpt2PreTokenizer: (text: string) => Iterable<string> = isolate(GPT2);

/** The matches of a pattern and what lies between them, each a piece ("Isolated"). */
export function isolate(pattern: RegExp): (text: string) => Iterable<string> {
  return function* (text) {
    let end = 0;
    for (const { 0: match, index } of text.matchAll(pattern)) {
      if (index > end) yield text.slice(end, index);
      if (match !== "") yield match;
      end = index + match.length;
    }
    if (end < text.length) yield text.slice(end);
  };
}

/** Applies each to the pieces of the one before; none: the text is one piece. */
export function sequence(steps: readonly PreTokenizer[]): PreTokenizer {
  let all: PreTokenizer = (text) => [text];
  for (const step of steps) {
    const before = all;
    all = function* (text, isFirst) {
      let atStart = isFirst;
      for (const piece of before(text, isFirst)) {
        yield* step(piece, atStart && text.startsWith(piece)); // not if white space before it was left out
        atStart = false;
      }
    };
  }
  return all;
}
