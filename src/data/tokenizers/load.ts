import { z } from "zod";
import { UserError } from "../../errors.ts";
import { checked } from "../../formats/checked.ts";
import { messageOf } from "../../formats/file.ts";
import { type BpeParts, bpeTokenizer } from "./bpe.ts";
import { CHARACTERS } from "./byteAlphabet.ts";
import { bytesTokenizer } from "./bytes.ts";
import { charsTokenizer } from "./chars.ts";
import { EVERY_CHARACTER } from "./json.ts";
import { gpt2PreTokenizer, type PreTokenizer, sequence, splitPreTokenizer } from "./preTokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

// Keys may be any token, `__proto__` too, so the vocabulary is checked as a whole and not rebuilt as a record.
const vocabularySchema = z.custom<Record<string, number>>(
  (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((id) => Number.isInteger(id) && id >= 0),
  "expected an object of token to id",
);
const stepSchema = z.looseObject({ type: z.string() });
const fileSchema = z.looseObject({
  added_tokens: z.array(z.object({
    id: z.int().min(0),
    content: z.string(),
    single_word: z.boolean().default(false),
    lstrip: z.boolean().default(false),
    rstrip: z.boolean().default(false),
    normalized: z.boolean().default(false),
    special: z.boolean().default(false),
  })).default([]),
  normalizer: stepSchema.nullish(),
  pre_tokenizer: stepSchema.nullish(),
  decoder: stepSchema.nullish(),
  model: z.looseObject({ type: z.string().optional() }),
});
const bpeSchema = z.looseObject({
  dropout: z.number().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  byte_fallback: z.boolean().default(false),
  ignore_merges: z.boolean().default(false),
  vocab: vocabularySchema,
  merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
});
const splitSchema = z.object({
  pattern: z.union([z.object({ Regex: z.string() }), z.object({ String: z.string() })]),
  behavior: z.string(),
  invert: z.boolean().default(false),
});
const byteLevelSchema = z.object({
  add_prefix_space: z.boolean().default(true),
  use_regex: z.boolean().default(true),
});

type TokenizerFile = z.infer<typeof fileSchema>;
type Step = z.infer<typeof stepSchema>;

/** Reads a tokenizer.json from disk. Throws UserError that names the file. */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  const text = await Deno.readTextFile(path).catch((error) => {
    throw new UserError(`Cannot read the tokenizer ${path}: ${messageOf(error)}`);
  });
  return parseTokenizer(text, path);
}

/** Reads the text of a tokenizer.json, which errors call `path`. */
export function parseTokenizer(text: string, path: string): Tokenizer {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${messageOf(error)}`);
  }
  return loadTokenizer(json, path);
}

/**
 * Makes a tokenizer from the content of a tokenizer.json: our own bytes, chars and bpe, and any byte-level BPE that
 * Hugging Face's tokenizers library wrote. Tokens that its post-processor would add are not added.
 *
 * @param name how errors name the file
 * @throws UserError for another kind of model, which it names
 */
export function loadTokenizer(json: unknown, name = "tokenizer.json"): Tokenizer {
  const refuse = (found: string) =>
    new UserError(`${name} has ${found}, which is not supported: expected a byte-level BPE such as GPT-2's`);
  const file = checked(fileSchema, json, name);
  const type = file.model.type ?? ("merges" in file.model ? "BPE" : "unnamed");
  if (type === "WordLevel") return loadChars(file, name, refuse);
  if (type !== "BPE") throw refuse(`a model of type ${type}`);

  const model = checked(bpeSchema, file.model, name);
  const decoder = file.decoder?.type ?? "none";
  if (model.byte_fallback) throw refuse("a BPE model with byte_fallback");
  if (model.dropout) throw refuse("a BPE model with dropout");
  if (model.continuing_subword_prefix || model.end_of_word_suffix) throw refuse("a BPE model with affixes");
  if (decoder !== "ByteLevel") throw refuse(`a decoder of type ${decoder}`);
  const vocabulary = new Map(Object.entries(model.vocab));
  for (const character of CHARACTERS) {
    if (!vocabulary.has(character)) throw new UserError(`${name} has no token for the byte ${character}`);
  }
  const merges = model.merges.map((merge) => {
    const [left, right, more] = typeof merge === "string" ? merge.split(" ") : merge;
    const complete = more === undefined && [left, right, left + right].every((part) => vocabulary.has(part));
    if (!complete) throw new UserError(`${name} has a merge of unknown tokens: ${JSON.stringify(merge)}`);
    return [left, right] as const;
  });
  const words = preTokenizerOf(file, name, refuse);
  if (isBytes(vocabulary, file, merges.length, words.steps)) return bytesTokenizer();
  return bpeTokenizer({
    vocabulary,
    merges,
    addedTokens: file.added_tokens,
    normalize: normalizerOf(file.normalizer, refuse),
    ...words,
    ignoreMerges: model.ignore_merges,
    json: json as object,
  });
}

function isBytes(
  vocabulary: ReadonlyMap<string, number>,
  file: TokenizerFile,
  merges: number,
  steps: number,
): boolean {
  return merges === 0 && steps === 0 && file.added_tokens.length === 0 && file.normalizer == null &&
    vocabulary.size === 256 && CHARACTERS.every((character, byte) => vocabulary.get(character) === byte);
}

function loadChars(file: TokenizerFile, name: string, refuse: (found: string) => UserError): Tokenizer {
  const split = splitSchema.safeParse(file.pre_tokenizer);
  const everyCharacter = split.success && "Regex" in split.data.pattern &&
    split.data.pattern.Regex === EVERY_CHARACTER && file.decoder?.type === "Fuse" && file.normalizer == null;
  const characters: string[] = [];
  for (const [token, id] of Object.entries(checked(vocabularySchema, file.model.vocab, name))) {
    characters[id] = token;
  }
  const single = Array.from(characters, (token) => token !== undefined && [...token].length === 1);
  if (!everyCharacter || file.added_tokens.length > 0 || single.includes(false)) {
    throw refuse("a WordLevel model of other tokens than single characters");
  }
  return charsTokenizer(characters);
}

function normalizerOf(
  step: Step | null | undefined,
  refuse: (found: string) => UserError,
): BpeParts["normalize"] {
  if (step == null) return (text) => text;
  const form = ["NFC", "NFD", "NFKC", "NFKD"].find((name) => name === step.type);
  if (form === undefined) throw refuse(`a normalizer of type ${step.type}`);
  return (text) => text.normalize(form);
}

/** `Split`s, if any, and then `ByteLevel`, alone or in a `Sequence`. */
function preTokenizerOf(
  { pre_tokenizer: step, added_tokens: addedTokens }: TokenizerFile,
  name: string,
  refuse: (found: string) => UserError,
): Pick<BpeParts, "preTokenizer" | "boundary"> & { steps: number } {
  const all = step?.type === "Sequence"
    ? checked(z.array(stepSchema), step.pretokenizers, name)
    : step
    ? [step]
    : [];
  const last = all.at(-1);
  if (last?.type !== "ByteLevel") throw refuse(`a pre_tokenizer that ends in ${last?.type ?? "nothing"}`);
  const steps = all.slice(0, -1).map((part): PreTokenizer => {
    if (part.type !== "Split") throw refuse(`a pre_tokenizer of type ${part.type}`);
    const { pattern, behavior, invert } = checked(splitSchema, part, name);
    if (behavior !== "Isolated" || invert) {
      throw refuse(`a pre_tokenizer Split with ${behavior}, invert ${invert}`);
    }
    return splitPreTokenizer("Regex" in pattern ? pattern.Regex : RegExp.escape(pattern.String));
  });
  const { add_prefix_space: prefix, use_regex: words } = checked(byteLevelSchema, last, name);
  // GPT-2's words never go on into white space; in other patterns at least those of letters and digits don't.
  const before = steps.length === 0 ? "\\P{White_Space}" : "[\\p{L}\\p{N}]";
  const boundary = new RegExp(`${before}${prefix ? " " : "\\p{White_Space}"}`, "u");
  const crossed = (steps.length === 0 && !words) ||
    addedTokens.some(({ content, rstrip }) => rstrip || boundary.test(content));
  if (prefix) steps.push((text) => [text.startsWith(" ") ? text : ` ${text}`]);
  if (words) steps.push(gpt2PreTokenizer);
  return { preTokenizer: sequence(steps), boundary: crossed ? /(?!)/ : boundary, steps: steps.length };
}
