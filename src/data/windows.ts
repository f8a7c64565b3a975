import type { Batch } from "./batch.ts";
import type { RowFormat } from "./rows.ts";
import { type Tokenizer, wholeCharacters } from "./tokenizers/tokenizer.ts";

export type TokenArray = Uint16Array | Uint32Array | Int32Array;

/** Tokens of a text, and where its documents start. */
export interface TokenStream {
  /** (N) */
  readonly tokens: TokenArray;
  /** (D) the token at which each document starts, strictly ascending. */
  readonly documents: Uint32Array;
}

/** A text of one document. */
export function oneDocument(tokens: TokenArray): TokenStream {
  return { tokens, documents: Uint32Array.of(0) };
}

/** The part of a text that one row is made from. */
export interface TextWindow {
  /** (n) */
  readonly tokens: TokenArray;
  /** Indices into `tokens` at which another document starts, from 1 on, ascending. */
  readonly documentStarts: readonly number[];
  /** The row's number in the run's stream of samples. */
  readonly sampleId: number;
}

/** The window of up to `length` tokens from token `start` on. */
export function windowAt(stream: TokenStream, start: number, length: number, sampleId: number): TextWindow {
  const tokens = stream.tokens.subarray(start, start + length);
  const documentStarts: number[] = [];
  for (let i = firstAbove(stream.documents, start); i < stream.documents.length; i++) {
    const column = stream.documents[i] - start;
    if (column >= tokens.length) break;
    documentStarts.push(column);
  }
  return { tokens, documentStarts, sampleId };
}

/** Index of the first of ascending values that is above `bound`. */
function firstAbove(values: Uint32Array, bound: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] > bound) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Windows of W tokens, overlapping by one, that a text is cut into. */
export function countWindows(numTokens: number, windowLength: number): number {
  return Math.max(0, Math.ceil((numTokens - 1) / (windowLength - 1)));
}

/** Rows of consecutive windows of a text, from window `first` on; the last one may be short. Sample ids count the windows. */
export function windowBatch(stream: TokenStream, first: number, rows: number, format: RowFormat): Batch {
  return format.batch(consecutive(stream, first, rows, format.windowLength));
}

function consecutive(stream: TokenStream, first: number, count: number, length: number): TextWindow[] {
  return Array.from(
    { length: count },
    (_, i) => windowAt(stream, (first + i) * (length - 1), length, first + i),
  );
}

/**
 * The rows of a text of any length that comes in chunks, taken as one document, in batches of `rows` (the last one may
 * have fewer), in memory that does not depend on the text's length.
 */
export async function* textBatches(
  tokenizer: Tokenizer,
  chunks: AsyncIterable<string> | Iterable<string>,
  format: RowFormat,
  rows: number,
): AsyncGenerator<Batch> {
  const { windowLength } = format;
  const waiting = new Int32Array(rows * (windowLength - 1) + 1); // tokens of the next batch
  let count = 0;
  let first = 0; // window
  for await (const ids of encodeChunks(tokenizer, chunks)) {
    for (let taken = 0; taken < ids.length;) {
      const part = ids.subarray(taken, taken + waiting.length - count);
      waiting.set(part, count);
      taken += part.length;
      count += part.length;
      if (count < waiting.length) break;
      yield batchOf(waiting, rows);
      first += rows;
      waiting[0] = waiting[count - 1]; // windows overlap by one token
      count = 1;
    }
  }
  const rest = countWindows(count, windowLength);
  if (rest > 0) yield batchOf(waiting.subarray(0, count), rest);

  function batchOf(tokens: Int32Array, count: number): Batch {
    const windows = consecutive(oneDocument(tokens), 0, count, windowLength);
    return format.batch(windows.map((window) => ({ ...window, sampleId: first + window.sampleId })));
  }
}

/** UTF-16 units that are looked at together, and the most that are held when there is no boundary among them. */
const STRETCH = 1 << 16;
const LONGEST = 1 << 20;

/**
 * Token ids of a text that comes in chunks: those of the whole text, however it is cut into chunks. Only where
 * a million characters have no boundary between words is the text cut in between.
 */
export async function* encodeChunks(
  tokenizer: Tokenizer,
  chunks: AsyncIterable<string> | Iterable<string>,
): AsyncGenerator<Int32Array> {
  let text = "";
  let enough = STRETCH; // doubled as long as no boundary is found
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; from += STRETCH) {
      text += chunk.slice(from, from + STRETCH);
      if (text.length < enough) continue;
      const cut = tokenizer.lastBoundary(text) || (text.length >= LONGEST ? wholeCharacters(text) : 0);
      if (cut > 0) yield tokenizer.encode(text.slice(0, cut));
      text = text.slice(cut);
      enough = cut > 0 ? STRETCH : 2 * enough;
    }
  }
  if (text !== "") yield tokenizer.encode(text);
}
