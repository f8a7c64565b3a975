import { z } from "zod";
import type { DecoderStage } from "./decoderStage.ts";
import type { PreTokenizer } from "./preTokenizer.ts";
import type { Step, TokenizerFile } from "./tokenizerFile.ts";

/** SentencePiece's mark for a space (Kudo and Richardson 2018). */
export const SPACE_MARK = "▁";

const metaspaceSchema = z.object({
  replacement: z.string().default(SPACE_MARK),
  add_prefix_space: z.boolean().optional(),
  prepend_scheme: z.enum(["always", "first", "never"]).default("always"),
  split: z.boolean().nullish(),
});

/** Which texts get a mark in front, and whether each mark starts a piece. Older files say `add_prefix_space`. */
function optionsOf(step: Step, file: TokenizerFile) {
  const { replacement, add_prefix_space, prepend_scheme, split } = file.read(metaspaceSchema, step);
  return {
    mark: replacement,
    prepend: add_prefix_space === false ? "never" : prepend_scheme,
    split: split ?? true,
  };
}

/** Writes the mark for every space and puts one in front. `isCutting`: a piece ends before each. */
export function metaspacePreTokenizer(
  step: Step,
  file: TokenizerFile,
): { cut: PreTokenizer; isCutting: boolean } {
  const { mark, prepend, split } = optionsOf(step, file);
  const cut: PreTokenizer = (text, isFirst) => {
    let marked = text.replaceAll(" ", mark);
    const wanted = prepend === "always" || (prepend === "first" && isFirst);
    if (wanted && !marked.startsWith(mark)) marked = mark + marked;
    return split ? cutBefore(marked, mark) : [marked];
  };
  return { cut, isCutting: split };
}

function* cutBefore(text: string, mark: string): Iterable<string> {
  let start = 0;
  for (let next = text.indexOf(mark, 1); next >= 0; next = text.indexOf(mark, start + 1)) {
    yield text.slice(start, next);
    start = next;
  }
  yield text.slice(start);
}

/** Cuts before each run of marks. */
export const cutBeforeRuns: PreTokenizer = (text) => text.match(/▁*[^▁]+|▁+/gu) ?? [];

/** Writes a space for every mark, and nothing for those of the first token. */
export function metaspaceDecoder(step: Step, file: TokenizerFile): DecoderStage {
  const { mark, prepend } = optionsOf(step, file);
  return ({ continues }) => {
    let isFirst = !continues && prepend !== "never";
    return {
      push(token) {
        const space = isFirst ? "" : " ";
        isFirst = false;
        return token.replaceAll(mark, space);
      },
      end: () => "",
    };
  };
}
