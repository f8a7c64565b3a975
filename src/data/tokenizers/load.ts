import { z } from "zod";
import { UserError } from "../../errors.ts";
import { messageOf } from "../../formats/file.ts";
import { bpeModel } from "./bpe.ts";
import { CHARACTERS } from "./byteAlphabet.ts";
import { byteIds } from "./byteFallback.ts";
import { bytesTokenizer } from "./bytes.ts";
import { charsTokenizer } from "./chars.ts";
import { EVERY_CHARACTER } from "./json.ts";
import { cutBeforeRuns, SPACE_MARK } from "./metaspace.ts";
import { type PipelineParts, pipelineTokenizer } from "./pipeline.ts";
import { readDecoder } from "./readDecoder.ts";
import { readNormalizer } from "./readNormalizer.ts";
import { readPostProcessor } from "./readPostProcessor.ts";
import { type Cut, piecesOf, readPreTokenizer, WORD } from "./readPreTokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { TokenizerFile } from "./tokenizerFile.ts";
import { unigramModel } from "./unigram.ts";

// Keys may be any token, `__proto__` too, so the vocabulary is checked as a whole and not rebuilt as a record.
const vocabularySchema = z.custom<Record<string, number>>(
  (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((id) => Number.isInteger(id) && id >= 0),
  "expected an object of token to id",
);
const bpeSchema = z.object({
  dropout: z.number().nullish(),
  unk_token: z.string().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  fuse_unk: z.boolean().default(false),
  byte_fallback: z.boolean().default(false),
  ignore_merges: z.boolean().default(false),
  vocab: vocabularySchema,
  merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
});
const unigramSchema = z.object({
  vocab: z.array(z.tuple([z.string(), z.number()])),
  unk_id: z.int().min(0).nullish(),
  byte_fallback: z.boolean().default(false),
});
const wordLevelSchema = z.object({ vocab: vocabularySchema });
const everyCharacterSchema = z.object({
  type: z.literal("Split"),
  pattern: z.object({ Regex: z.literal(EVERY_CHARACTER) }),
  behavior: z.literal("Isolated"),
  invert: z.literal(false).default(false),
});

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

/** Makes the tokenizer of a model's type. */
const MODELS: Readonly<Record<string, (file: TokenizerFile, json: object) => Tokenizer>> = {
  BPE: loadBpe,
  Unigram: loadUnigram,
  WordLevel: loadChars,
};

/**
 * Makes a tokenizer from the content of a tokenizer.json, as Hugging Face's tokenizers library writes it: our own bytes,
 * chars and bpe, BPE of bytes (GPT-2, BLOOM, GPT-NeoX) or of characters with byte fallback (LLaMA), and Unigram (T5).
 *
 * @param name how errors name the file
 * @throws UserError for what is not understood, which it names
 */
export function loadTokenizer(json: unknown, name = "tokenizer.json"): Tokenizer {
  const file = new TokenizerFile(json, name);
  const { model } = file.json;
  const type = model.type ?? ("merges" in model ? "BPE" : "unnamed");
  return file.look(MODELS, { type }, "model")(file, json as object);
}

function loadBpe(file: TokenizerFile, json: object): Tokenizer {
  const model = file.read(bpeSchema, file.json.model);
  if (model.dropout) throw file.refuse("a BPE model with dropout");
  if (model.continuing_subword_prefix || model.end_of_word_suffix) {
    throw file.refuse("a BPE model with affixes");
  }
  const vocabulary = new Map(Object.entries(model.vocab));
  const merges = model.merges.map((merge) => {
    const [left, right, more] = typeof merge === "string" ? merge.split(" ") : merge;
    const isComplete = more === undefined &&
      [left, right, left + right].every((part) => vocabulary.has(part));
    if (!isComplete) throw file.damaged(`a merge of unknown tokens: ${JSON.stringify(merge)}`);
    return [left, right] as const;
  });
  const unknown = model.unk_token == null ? null : vocabulary.get(model.unk_token) ?? null;
  const { fuse_unk: fuseUnknown, byte_fallback: byteFallback, ignore_merges: ignoreMerges } = model;

  const cuts = readPreTokenizer(file);
  if (cuts.at(-1)?.isByteLevel) {
    const missing = CHARACTERS.find((character) => !vocabulary.has(character));
    if (missing !== undefined) throw file.damaged(`no token for the byte ${missing}`);
    if (merges.length === 0 && isBytes(file, vocabulary)) return bytesTokenizer();
  } else {
    // Cut where no merge goes on, because short pieces can be remembered. Nothing between two marks may vanish.
    const knowsAll = unknown !== null || (byteFallback && !byteIds(vocabulary).includes(undefined));
    const isCut = knowsAll && !ignoreMerges && vocabulary.has(SPACE_MARK) && !merges.some(crossesMark);
    if (isCut) cuts.push({ cut: cutBeforeRuns, endsAfter: WORD, isSpaceOnly: true });
  }
  const tokens: string[] = [];
  for (const [token, id] of vocabulary) tokens[id] = token;
  return assemble(file, json, {
    kind: "bpe",
    tokens,
    cuts,
    model: bpeModel({ vocabulary, merges, unknown, fuseUnknown, byteFallback, ignoreMerges }),
  });
}

function loadUnigram(file: TokenizerFile, json: object): Tokenizer {
  const { vocab: vocabulary, unk_id: unknown, byte_fallback: byteFallback } = file.read(
    unigramSchema,
    file.json.model,
  );
  if (unknown == null) throw file.refuse("a Unigram model without unk_id");
  if (unknown >= vocabulary.length) throw file.damaged(`unk_id ${unknown}, but ${vocabulary.length} tokens`);
  return assemble(file, json, {
    kind: "unigram",
    tokens: vocabulary.map(([token]) => token),
    cuts: readPreTokenizer(file),
    model: unigramModel({ vocabulary, unknown, byteFallback }),
  });
}

/** A model with the steps around it. */
function assemble(
  file: TokenizerFile,
  json: object,
  { cuts, ...model }: Pick<PipelineParts, "kind" | "tokens" | "model"> & { readonly cuts: readonly Cut[] },
): Tokenizer {
  return pipelineTokenizer({
    ...model,
    addedTokens: file.json.added_tokens,
    normalizer: readNormalizer(file),
    pieces: piecesOf(cuts, file),
    decodingOf: readDecoder(file),
    frame: readPostProcessor(file),
    json,
  });
}

const crossesMark = ([left, right]: readonly [string, string]) => /[^▁]▁/.test(left + right);

function isBytes(
  { json: { added_tokens: added, normalizer, pre_tokenizer: words, post_processor } }: TokenizerFile,
  vocabulary: ReadonlyMap<string, number>,
): boolean {
  return added.length === 0 && normalizer == null && post_processor == null && words?.type === "ByteLevel" &&
    words.add_prefix_space === false && words.use_regex === false && vocabulary.size === 256 &&
    CHARACTERS.every((character, byte) => vocabulary.get(character) === byte);
}

function loadChars(file: TokenizerFile): Tokenizer {
  const { added_tokens: added, normalizer, pre_tokenizer, decoder, model } = file.json;
  const isPlain = everyCharacterSchema.safeParse(pre_tokenizer).success && decoder?.type === "Fuse" &&
    normalizer == null && added.length === 0;
  const characters: string[] = [];
  for (const [token, id] of Object.entries(file.read(wordLevelSchema, model).vocab)) characters[id] = token;
  const single = Array.from(characters, (token) => token !== undefined && [...token].length === 1);
  if (!isPlain || single.includes(false)) {
    throw file.refuse("a WordLevel model of other tokens than single characters");
  }
  return charsTokenizer(characters);
}
