import { z } from "zod";

/** A token that is recognised in the text as it stands, before anything else; the keys of tokenizer.json. */
export const addedTokenSchema = z.object({
  id: z.int().min(0),
  content: z.string(),
  /** Only where no letter, digit or underscore touches it. */
  single_word: z.boolean().default(false),
  /** Takes the white space before it. */
  lstrip: z.boolean().default(false),
  /** Takes the white space after it. */
  rstrip: z.boolean().default(false),
  /** Looked for after normalization, not before. */
  normalized: z.boolean().default(false),
  /** Left out by decode with skipSpecial. */
  special: z.boolean().default(false),
});
export type AddedToken = Readonly<z.infer<typeof addedTokenSchema>>;

const WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
const SPACE = /\p{White_Space}/u;
const ENDS_WITH_WORD = new RegExp(`${WORD}$`, "u");
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, "u");

/** A function that cuts a text at the given tokens, into stretches of text and ids. The leftmost wins, then the longest. */
export function addedTokenSplitter(tokens: readonly AddedToken[]): (text: string) => (string | number)[] {
  const known = tokens.filter((token) => token.content !== "");
  if (known.length === 0) return (text) => text === "" ? [] : [text];
  const byContent = new Map(known.map((token) => [token.content, token]));
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map((content) => RegExp.escape(content)).join("|"), "gu");

  return (text) => {
    const out: (string | number)[] = [];
    let end = 0; // of what has been given out
    for (const { 0: content, index } of text.matchAll(pattern)) {
      const token = byContent.get(content)!;
      let start = index;
      let stop = index + content.length;
      if (token.single_word && touchesWord(text, start, stop)) continue;
      if (token.lstrip) { while (start > end && SPACE.test(text[start - 1])) start--; }
      if (token.rstrip) { while (stop < text.length && SPACE.test(text[stop])) stop++; }
      if (start > end) out.push(text.slice(end, start));
      out.push(token.id);
      end = stop;
    }
    if (end < text.length) out.push(text.slice(end));
    return out;
  };
}

function touchesWord(text: string, start: number, stop: number): boolean {
  return ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) ||
    STARTS_WITH_WORD.test(text.slice(stop, stop + 2));
}
