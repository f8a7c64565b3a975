import { createHash } from "node:crypto";
import { join } from "@std/path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { checked } from "../formats/checked.ts";
import { cannotWrite, messageOf } from "../formats/file.ts";
import { specialTokensSchema } from "../formats/hf/specialTokens.ts";
import { writeAtomically } from "./atomicFile.ts";
import { loadTokenizer } from "./tokenizers/load.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";

/** A tokenized text: what a run keeps, so that it goes on with the same tokens whatever becomes of the corpus. */
export interface TokenStore {
  readonly tokenizer: Tokenizer;
  /** (N) the training part, then the held-out part. */
  readonly tokens: Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
  /** (D) the token at which each document starts, strictly ascending; the held-out part starts one. */
  readonly documents: Uint32Array<ArrayBuffer>;
  /** SHA-256 (hex) over the tokens as u32 little-endian. */
  readonly hash: string;
  readonly about: About;
}

/** data/data.json, but for what belongs to the files beside it. */
const aboutSchema = z.object({
  /** Where the text came from, for people. */
  source: z.string(),
  /** SHA-256 (hex) of the text in UTF-8. */
  textSha256: z.string(),
  trainTokens: z.int().min(0),
  validationTokens: z.int().min(0),
  validationFraction: z.number(),
  /** The size asked for, where a BPE was trained. */
  bpeVocabSize: z.int().nullable(),
  /** Those of the model whose weights the run starts with; null: it starts anew. */
  specialTokens: specialTokensSchema.nullable().default(null),
});
const dataSchema = aboutSchema.extend({
  type: z.enum(["uint16", "uint32"]),
  sha256: z.string(),
  documentsSha256: z.string(),
  tokenizerSha256: z.string(),
});
export type About = z.infer<typeof aboutSchema>;

/** An array for `length` tokens, of two bytes each if the vocabulary allows. */
export function tokenArray(length: number, vocabSize: number): TokenStore["tokens"] {
  return vocabSize <= 2 ** 16 ? new Uint16Array(length) : new Uint32Array(length);
}

/** SHA-256 (hex) over tokens as u32 little-endian, whatever their type in memory. */
export function hashTokens(tokens: TokenStore["tokens"]): string {
  const hash = createHash("sha256");
  const part = 1 << 20;
  for (let from = 0; from < tokens.length; from += part) {
    hash.update(new Uint8Array(Uint32Array.from(tokens.subarray(from, from + part)).buffer));
  }
  return hash.digest("hex");
}

/** SHA-256 (hex) of a text in UTF-8. */
export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-256 (hex) of a tokenizer's file. */
export function hashTokenizer(tokenizer: Tokenizer): string {
  return hashText(tokenizerFile(tokenizer));
}

function tokenizerFile(tokenizer: Tokenizer): string {
  return JSON.stringify(tokenizer.toJSON()) + "\n";
}

function paths(folder: string) {
  return {
    tokenizer: join(folder, "tokenizer.json"),
    tokens: join(folder, "data", "tokens.bin"),
    documents: join(folder, "data", "documents.bin"),
    data: join(folder, "data", "data.json"),
  };
}

/**
 * Writes tokenizer.json, data/tokens.bin and data/documents.bin (raw little-endian) and, last, data/data.json, which
 * makes them count.
 */
export async function writeTokenStore(folder: string, store: TokenStore): Promise<void> {
  const { tokenizer, tokens, documents, hash, about } = store;
  const data: z.infer<typeof dataSchema> = {
    ...about,
    type: tokens instanceof Uint16Array ? "uint16" : "uint32",
    sha256: hash,
    documentsSha256: hashTokens(documents),
    tokenizerSha256: hashTokenizer(tokenizer),
  };
  const path = paths(folder);
  const made = join(folder, "data");
  await Deno.mkdir(made, { recursive: true }).catch((error) => cannotWrite(made, error));
  await writeAtomically(path.tokenizer, tokenizerFile(tokenizer));
  await writeAtomically(path.tokens, new Uint8Array(tokens.buffer));
  await writeAtomically(path.documents, new Uint8Array(documents.buffer));
  await writeAtomically(path.data, JSON.stringify(data, null, 2) + "\n");
}

/**
 * Of what `writeTokenStore` wrote all but the tokens themselves; null if there is none.
 *
 * @throws UserError that names a file that is missing or damaged
 */
export async function readKeptTokenizer(
  folder: string,
): Promise<{ tokenizer: Tokenizer; data: z.infer<typeof dataSchema> } | null> {
  const path = paths(folder);
  const dataFile = await readFile(path.data);
  if (dataFile === null) return null;
  const data = checked(dataSchema, parseJson(dataFile, path.data), path.data);

  const tokenizerBytes = await readFile(path.tokenizer) ?? missing(path.tokenizer);
  const sha256 = createHash("sha256").update(tokenizerBytes).digest("hex");
  if (sha256 !== data.tokenizerSha256) damaged(path.tokenizer, path.data);
  return { tokenizer: loadTokenizer(parseJson(tokenizerBytes, path.tokenizer), path.tokenizer), data };
}

/** Reads what `writeTokenStore` wrote; null if there is none. Throws UserError that names a file that is missing or damaged. */
export async function readTokenStore(folder: string): Promise<TokenStore | null> {
  const path = paths(folder);
  const kept = await readKeptTokenizer(folder);
  if (kept === null) return null;
  const { tokenizer, data } = kept;

  const { buffer, byteLength } = await readFile(path.tokens) ?? missing(path.tokens);
  const length = data.trainTokens + data.validationTokens;
  if (byteLength !== length * (data.type === "uint16" ? 2 : 4)) damaged(path.tokens, path.data);
  const tokens = data.type === "uint16" ? new Uint16Array(buffer) : new Uint32Array(buffer);
  const hash = hashTokens(tokens);
  if (hash !== data.sha256) damaged(path.tokens, path.data);

  const starts = await readFile(path.documents) ?? missing(path.documents);
  if (starts.byteLength % 4 !== 0) damaged(path.documents, path.data);
  const documents = new Uint32Array(starts.buffer);
  if (hashTokens(documents) !== data.documentsSha256) damaged(path.documents, path.data);
  return { tokenizer, tokens, documents, hash, about: data };
}

async function readFile(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
}

function parseJson(bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new UserError(
      `${path} is damaged (${messageOf(error)}): restore it, or start a run of another name`,
    );
  }
}

function missing(path: string): never {
  throw new UserError(`${path} is missing: restore it, or start a run of another name`);
}

function damaged(path: string, data: string): never {
  throw new UserError(
    `${path} is damaged: its size or SHA-256 is not the one in ${data}; restore it, or start a run of another name`,
  );
}
