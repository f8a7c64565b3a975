import { z } from "zod";
import type { TokenizerFile } from "./tokenizerFile.ts";

// The library's \s is White_Space; JavaScript's \s lacks U+0085 and has U+FEFF.
export const SPACE = "\\p{White_Space}";

/** How a tokenizer.json writes what is looked for. */
export const patternSchema = z.union([z.object({ Regex: z.string() }), z.object({ String: z.string() })]);

/** All matches of a pattern. @throws UserError for one in Oniguruma's syntax that has no equal here */
export function regExpOf(pattern: z.infer<typeof patternSchema>, file: TokenizerFile): RegExp {
  if ("String" in pattern) return new RegExp(RegExp.escape(pattern.String), "gv");
  try {
    return new RegExp(fromOniguruma(pattern.Regex), "gv");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw file.refuse(`the pattern ${pattern.Regex} (${error.message})`);
  }
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
