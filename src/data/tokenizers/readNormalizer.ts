import { z } from "zod";
import { patternSchema, regExpOf } from "./oniguruma.ts";
import { precompiledNormalizer } from "./precompiled.ts";
import type { Step, TokenizerFile } from "./tokenizerFile.ts";

/** What is done to a text before it is cut into pieces. */
export interface Normalizer {
  normalize(text: string): string;
  /** Does a text that is cut before a space become what it becomes as a whole? */
  readonly isLocal: boolean;
}

const prependSchema = z.object({ prepend: z.string() });
const replaceSchema = z.object({ pattern: patternSchema, content: z.string() });
const stripSchema = z.object({ strip_left: z.boolean(), strip_right: z.boolean() });
const precompiledSchema = z.object({ precompiled_charsmap: z.string() });

const unicode = (form: string) => (): Normalizer => ({
  normalize: (text) => text.normalize(form),
  isLocal: true,
});

const NORMALIZERS: Readonly<Record<string, (step: Step, file: TokenizerFile) => Normalizer>> = {
  NFC: unicode("NFC"),
  NFD: unicode("NFD"),
  NFKC: unicode("NFKC"),
  NFKD: unicode("NFKD"),
  Prepend(step, file) {
    const { prepend } = file.read(prependSchema, step);
    return { normalize: (text) => text === "" ? "" : prepend + text, isLocal: false };
  },
  Replace(step, file) {
    const { pattern, content } = file.read(replaceSchema, step);
    const wanted = regExpOf(pattern, file);
    const spaces = "String" in pattern ? pattern.String === " " : /^ (\{2,\}|\+)$/.test(pattern.Regex);
    return { normalize: (text) => text.replaceAll(wanted, () => content), isLocal: spaces };
  },
  Strip(step, file) {
    const { strip_left: left, strip_right: right } = file.read(stripSchema, step);
    if (left) throw file.refuse("a normalizer Strip with strip_left");
    return { normalize: (text) => right ? text.slice(0, lengthWithoutSpace(text)) : text, isLocal: true };
  },
  Precompiled(step, file) {
    const { precompiled_charsmap } = file.read(precompiledSchema, step);
    const normalize = precompiledNormalizer(precompiled_charsmap);
    if (normalize === null) throw file.damaged("a precompiled_charsmap that is cut short or no base64");
    return { normalize, isLocal: true };
  },
};

function lengthWithoutSpace(text: string): number {
  let length = text.length;
  while (length > 0 && /\p{White_Space}/u.test(text[length - 1])) length--;
  return length;
}

/** Reads a normalizer; none leaves a text as it is. @throws UserError for a type that is not in the table */
export function readNormalizer(file: TokenizerFile): Normalizer {
  const all = file.flatten(file.json.normalizer, "normalizers")
    .map((step) => file.look(NORMALIZERS, step, "normalizer")(step, file));
  return {
    normalize: (text) => all.reduce((normalized, { normalize }) => normalize(normalized), text),
    isLocal: all.every(({ isLocal }) => isLocal),
  };
}
