import { UserError } from "../errors.ts";
import type { SpecialTokens } from "../formats/hf/specialTokens.ts";
import { type Batch, IGNORE } from "./batch.ts";
import { type Corpus, embeddedCorpus, readCorpus } from "./corpus.ts";
import { encodeDocuments } from "./documents.ts";
import { checkObjective } from "./objectives/check.ts";
import {
  objectiveVocabSize,
  specialTokensOf,
  type Vocabulary,
  vocabularyOf,
} from "./objectives/vocabulary.ts";
import { CAUSAL_ROWS, createRowFormat, type RowFormat, type RowOptions } from "./rows.ts";
import { createSampler } from "./sampler.ts";
import { trainBpe } from "./tokenizers/bpeTrainer.ts";
import { bytesTokenizer } from "./tokenizers/bytes.ts";
import { trainChars } from "./tokenizers/chars.ts";
import { countBytes, type Tokenizer } from "./tokenizers/tokenizer.ts";
import {
  type About,
  hashText,
  hashTokenizer,
  hashTokens,
  readTokenStore,
  tokenArray,
  type TokenStore,
  writeTokenStore,
} from "./tokenStore.ts";
import { countWindows, type TokenArray, type TokenStream, windowAt, windowBatch } from "./windows.ts";

/** A tokenized text, cut into a training part and a held-out part after it, as batches of rows. */
export interface Dataset {
  readonly tokenizer: Tokenizer;
  /** What the rows are made with. */
  readonly vocabulary: Vocabulary;
  /** Those of the model's config.json. */
  readonly specialTokens: SpecialTokens;
  /** Ids in batches are below this: the tokenizer's, and those that the objective adds. */
  readonly vocabSize: number;
  /** Where the text came from, for people. */
  readonly source: string;
  /** Files that were left out of the text because they are none; known at the first opening only. */
  readonly skippedFiles: readonly string[];
  /** SHA-256 (hex) over all tokens as u32 little-endian; with that of the special tokens, where they are another model's. */
  readonly hash: string;
  readonly trainTokens: number;
  readonly validationTokens: number;
  /** UTF-8 bytes of the text behind the targets of the held-out rows. */
  readonly validationBytes: number;
  /** UTF-8 bytes per target of the held-out rows; of the training part's if nothing is held out. */
  readonly bytesPerToken: number;
  /** Samples in an epoch. */
  readonly samplesPerEpoch: number;
  /** Training rows (B, T): samples `firstSample` and on, whose ids are their numbers modulo 2^32. */
  batch(firstSample: number, rows: number): Batch;
  /** Rows of the held-out part; 0: nothing is held out. */
  readonly validationRows: number;
  /** Consecutive rows (B, T) of the held-out part; their windows overlap by one token, and the last one may be short. */
  validationBatch(firstRow: number, rows: number): Batch;
  /** The UTF-8 text of a part, from its tokens. */
  text(part: "train" | "validation"): Uint8Array;
}

/** How tokens become rows. By default `objective`, `architecture` and `packing` are those of a causal decoder. */
export interface DatasetRows extends Partial<Pick<RowOptions, "architecture" | "objective" | "packing">> {
  /** T */
  readonly seqLen: number;
  readonly seed: number;
}

export interface DatasetOptions extends DatasetRows {
  /** A text file, a folder of text files, or a text itself. null: the TypeScript declarations that Deno carries. */
  readonly data: string | { readonly text: string } | null;
  /** A kind to make from the text, or a tokenizer that is there already. */
  readonly tokenizer: "bytes" | "chars" | "bpe" | Tokenizer;
  readonly bpeVocabSize: number;
  /** Those of the model whose weights the run starts with. Default, and null: it starts anew. */
  readonly specialTokens?: SpecialTokens | null;
  /** Share of the text's bytes, at its end, that is held out. */
  readonly validationFraction: number;
  /**
   * The run's folder. The first opening keeps tokenizer and tokens there; later ones read those and not `data`.
   * null: nothing is kept.
   */
  readonly folder: string | null;
  /** One-line news for the user: the run keeps other tokens than `data` now has. Without it that is not looked at. */
  readonly onMessage?: (text: string) => void;
}

/**
 * Reads, tokenizes and splits a text.
 *
 * The text is cut at a character boundary first, so that the held-out text is the same whatever the tokenizer; then
 * both parts are tokenized, document by document (see `encodeDocuments`). A BPE is trained on the training part alone; the characters of `chars` are those of the
 * whole text, as a character that was never seen can't be scored.
 *
 * @throws UserError if the text can't be read, is too short for one row, if objective, architecture and packing don't
 * fit together, or the folder's files are damaged or were made with other options
 *
 * @example
 * ```ts
 * const dataset = await openDataset({
 *   data: { text: "to be or not to be" },
 *   tokenizer: "bytes", bpeVocabSize: 257, seqLen: 4, seed: 1, validationFraction: 0, folder: null,
 * });
 * dataset.batch(0, 2).inputs; // (2, 4)
 * ```
 */
export async function openDataset(options: DatasetOptions): Promise<Dataset> {
  const { folder } = options;
  checkRows(options);
  const kept = folder === null ? null : await readTokenStore(folder);
  if (kept !== null) {
    checkMatch(kept, options);
    if (options.onMessage !== undefined && !await isUnchanged(options.data, kept.about)) {
      options.onMessage(
        `The corpus (${kept.about.source}) is not what the run began with: going on with the tokens that the run keeps`,
      );
    }
    return makeDataset(kept, options, []);
  }
  const corpus = await readSource(options.data);
  const store = tokenize(corpus, options);
  const dataset = makeDataset(store, options, corpus.skipped);
  if (folder !== null) await writeTokenStore(folder, store);
  return dataset;
}

/**
 * The tokens that a run's folder keeps, whatever they were made from, as rows.
 *
 * @returns null if there are none
 * @throws UserError if objective, architecture and packing don't fit together, or the files are damaged
 */
export async function openKeptDataset(folder: string, rows: DatasetRows): Promise<Dataset | null> {
  checkRows(rows);
  const kept = await readTokenStore(folder);
  return kept && makeDataset(kept, rows, []);
}

function checkRows(options: DatasetRows): void {
  const { architecture, seqLen, objective, packing } = rowOptions(options);
  checkObjective({ architecture, seqLen, vocabSize: null }, objective, packing, null);
}

function rowOptions(options: DatasetRows): RowOptions {
  const { architecture, objective, packing } = { ...CAUSAL_ROWS, ...options };
  return { architecture, objective, packing, seqLen: options.seqLen, seed: options.seed };
}

async function readSource(data: DatasetOptions["data"]): Promise<Corpus> {
  if (data === null) return await embeddedCorpus();
  if (typeof data === "string") return await readCorpus(data);
  if (data.text === "") throw new UserError("The text to train on is empty: give a longer one");
  return { text: data.text, fileStarts: [0], source: "text", skipped: [] };
}

/** Is the text still the one that was tokenized? */
async function isUnchanged(data: DatasetOptions["data"], { textSha256 }: About): Promise<boolean> {
  try {
    return hashText((await readSource(data)).text) === textSha256;
  } catch (error) {
    if (error instanceof UserError) return false; // it can't be read any more
    throw error;
  }
}

function tokenize(corpus: Corpus, options: DatasetOptions): TokenStore {
  const [trainText, validationText] = splitText(corpus.text, options.validationFraction);
  const tokenizer = makeTokenizer(options, trainText, corpus.text);
  const { fileStarts } = corpus;
  const train = encodeDocuments(tokenizer, trainText, fileStarts);
  const heldStarts = fileStarts.map((start) => start - trainText.length);
  const validation = encodeDocuments(tokenizer, validationText, heldStarts);
  const [trainTokens, validationTokens] = [train, validation].map(totalLength);
  const tokens = tokenArray(trainTokens + validationTokens, tokenizer.vocabSize); // (N)
  const documents = new Uint32Array(train.length + validation.length); // (D)
  let count = 0;
  [...train, ...validation].forEach((ids, document) => {
    documents[document] = count;
    tokens.set(ids, count);
    count += ids.length;
  });
  return {
    tokenizer,
    tokens,
    documents,
    hash: hashTokens(tokens),
    about: {
      source: corpus.source,
      textSha256: hashText(corpus.text),
      trainTokens,
      validationTokens,
      validationFraction: options.validationFraction,
      bpeVocabSize: options.tokenizer === "bpe" ? options.bpeVocabSize : null,
      specialTokens: options.specialTokens ?? null,
    },
  };
}

function totalLength(parts: readonly Int32Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

/** The last `fraction` of the bytes, less the rest of a character that the cut would break, is the second part. */
function splitText(text: string, fraction: number): [string, string] {
  const bytes = new TextEncoder().encode(text);
  let cut = Math.floor(bytes.length * (1 - fraction));
  while (cut > 0 && (bytes[cut] & 0xc0) === 0x80) cut--;
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  return [utf8.decode(bytes.subarray(0, cut)), utf8.decode(bytes.subarray(cut))];
}

function makeTokenizer(options: DatasetOptions, trainText: string, text: string): Tokenizer {
  switch (options.tokenizer) {
    case "bytes":
      return bytesTokenizer();
    case "chars":
      return trainChars(text);
    case "bpe":
      return trainBpe(trainText, options.bpeVocabSize);
    default:
      return options.tokenizer;
  }
}

function makeDataset(store: TokenStore, options: DatasetRows, skippedFiles: readonly string[]): Dataset {
  const { tokenizer, tokens, about } = store;
  const { source, trainTokens, validationTokens, specialTokens } = about;
  const vocabulary = vocabularyOf(tokenizer, specialTokens);
  const part = (from: number, to: number): TokenStream => ({
    tokens: tokens.subarray(from, to),
    documents: store.documents.filter((start) => start >= from && start < to).map((start) => start - from),
  });
  const train = part(0, trainTokens);
  const validation = part(trainTokens, tokens.length);
  if (about.validationFraction > 0 && validationTokens < 2) {
    throw new UserError(
      `The held-out part has ${validationTokens} tokens, but needs 2: give more text, or set validation.fraction=0`,
    );
  }
  const rows = rowOptions(options);
  const format = createRowFormat(rows, vocabulary);
  const { windowLength } = format;
  const sampler = createSampler(trainTokens, windowLength, options.seed);
  const validationRows = countWindows(validationTokens, windowLength);
  const held = countScored(tokenizer, validation, format);
  const scored = validationRows > 0 ? held : countScored(tokenizer, train, format);
  return {
    tokenizer,
    vocabulary,
    specialTokens: specialTokensOf(tokenizer, specialTokens),
    vocabSize: objectiveVocabSize(vocabulary, rows),
    source,
    skippedFiles,
    hash: specialTokens === null ? store.hash : hashText(store.hash + JSON.stringify(specialTokens)),
    trainTokens,
    validationTokens,
    validationBytes: held.bytes,
    bytesPerToken: scored.bytes / scored.targets,
    samplesPerEpoch: sampler.windows,
    batch(firstSample, rows) {
      const samples = Array.from({ length: rows }, (_, row) => firstSample + row);
      return format.batch(
        samples.map((sample) => windowAt(train, sampler.start(sample), windowLength, sample)),
      );
    },
    validationRows,
    validationBatch(firstRow, rows) {
      if (firstRow + rows > validationRows) {
        throw new RangeError(`Rows ${firstRow} to ${firstRow + rows} of ${validationRows} held-out rows`);
      }
      return windowBatch(validation, firstRow, rows, format);
    },
    text: (part) => joinBytes(tokenizer, (part === "train" ? train : validation).tokens),
  };
}

/** The targets in all rows of a text, and the UTF-8 bytes behind them. */
function countScored(tokenizer: Tokenizer, stream: TokenStream, format: RowFormat) {
  let [targets, bytes] = [0, 0];
  for (let row = 0; row < countWindows(stream.tokens.length, format.windowLength); row++) {
    const scored = windowBatch(stream, row, 1, format).targets.filter((id) => id !== IGNORE);
    targets += scored.length;
    bytes += countBytes(tokenizer, scored, tokenizer.sentinels);
  }
  return { targets, bytes };
}

function joinBytes(tokenizer: Tokenizer, tokens: TokenArray): Uint8Array {
  const out = new Uint8Array(countBytes(tokenizer, tokens));
  let at = 0;
  for (const id of tokens) {
    const bytes = tokenizer.bytesOf(id);
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}

/** Throws UserError if the run's folder was made with other options. */
function checkMatch({ tokenizer, about }: TokenStore, options: DatasetOptions): void {
  const refuse = (what: string, found: unknown, expected: unknown) => {
    throw new UserError(
      `${options.folder}/data was made with ${what} ${found}, but ${expected} is asked for: ` +
        "set it back, or start a run of another name",
    );
  };
  const wanted = options.tokenizer;
  const kind = typeof wanted === "string" ? wanted : wanted.kind;
  if (tokenizer.kind !== kind) refuse("tokenizer", tokenizer.kind, kind);
  if (typeof wanted !== "string" && hashTokenizer(wanted) !== hashTokenizer(tokenizer)) {
    refuse("tokenizer", `of SHA-256 ${hashTokenizer(tokenizer)}`, hashTokenizer(wanted));
  }
  if (wanted === "bpe" && about.bpeVocabSize !== null && about.bpeVocabSize !== options.bpeVocabSize) {
    refuse("bpeVocabSize", about.bpeVocabSize, options.bpeVocabSize);
  }
  const [kept, given] = [about.specialTokens, options.specialTokens ?? null].map((ids) =>
    JSON.stringify(ids)
  );
  if (kept !== given) refuse("special tokens", kept, given);
  if (about.validationFraction !== options.validationFraction) {
    refuse("validation.fraction", about.validationFraction, options.validationFraction);
  }
}
