import { UserError } from "../../errors.ts";

/** Cuts a text into pieces that BPE never merges across. The pieces together are the text. */
export type PreTokenizer = (text: string) => Iterable<string>;

// The library's \s is White_Space; JavaScript's \s lacks U+0085 and has U+FEFF.
const SPACE = "\\p{White_Space}";

/** GPT-2's pattern (Radford et al. 2019, encoder.py): contractions, words, numbers, other, white space. */
const GPT2 = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|${SPACE}+(?!\\P{White_Space})|${SPACE}+`,
  "gu",
);

export const gpt2PreTokenizer: PreTokenizer = isolate(GPT2);

/** The matches of a pattern and what lies between them, each a piece ("Isolated"). */
function isolate(pattern: RegExp): PreTokenizer {
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

/** Splits by a pattern in the syntax of Oniguruma, as `Split` with behaviour "Isolated" does. Throws UserError if it has no equal here. */
export function splitPreTokenizer(pattern: string): PreTokenizer {
  try {
    return isolate(new RegExp(fromOniguruma(pattern), "gv"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UserError(
      `The pre_tokenizer Split has a pattern that is not supported: ${pattern} (${error.message})`,
    );
  }
}

/** Applies each to the pieces of the one before; none: the text is one piece. */
export function sequence(steps: readonly PreTokenizer[]): PreTokenizer {
  let all: PreTokenizer = (text) => [text];
  for (const step of steps) {
    const before = all;
    all = function* (text) {
      for (const piece of before(text)) yield* step(piece);
    };
  }
  return all;
}

/** Oniguruma's syntax in JavaScript's `v` syntax: both know classes within classes, but escape other characters there. */
function fromOniguruma(pattern: string): string {
  const classes: Record<string, string> = { s: SPACE, S: "\\P{White_Space}", d: "\\p{Nd}", D: "\\P{Nd}" };
  let out = "";
  let depth = 0; // of brackets
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i];
    const property = /^\\p\{\w+\}/i.exec(pattern.slice(i))?.[0];
    if (property !== undefined) {
      out += property;
      i += property.length - 1;
    } else if (character === "\\") {
      const next = pattern[++i] ?? "";
      if (/[wWbBhHRXAzZGkKNOyY]/.test(next)) throw new SyntaxError(`\\${next}`);
      out += classes[next] ?? character + next;
    } else if (character === "[") {
      depth++;
      out += pattern[i + 1] === "^" ? (i++, "[^") : "[";
    } else if (character === "]") {
      depth--;
      out += character;
    } else {
      const edge = /\[\^?$/.test(out) || pattern[i + 1] === "]";
      const literal = depth > 0 && (/[(){}/|]/.test(character) || (character === "-" && edge));
      out += literal ? `\\${character}` : character;
    }
  }
  return out;
}
