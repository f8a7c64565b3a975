import { type Batch, IGNORE } from "./batch.ts";
import { type Tokenizer, wholeCharacters } from "./tokenizers/tokenizer.ts";

export type TokenArray = Uint16Array | Uint32Array | Int32Array;

/** An empty batch of B rows and T columns: input 0, no targets. */
export function emptyBatch(rows: number, columns: number): Batch {
  return {
    rows,
    columns,
    inputs: new Int32Array(rows * columns), // (B, T)
    targets: new Int32Array(rows * columns).fill(IGNORE), // (B, T)
    sampleIds: new Uint32Array(rows), // (B)
  };
}

/** Fills a row with the window of up to T+1 tokens from `start`: inputs, and the same moved by one as targets. */
export function fillRow(
  batch: Batch,
  row: number,
  tokens: TokenArray,
  start: number,
  sampleId: number,
): void {
  const T = batch.columns;
  const count = Math.min(T, tokens.length - 1 - start);
  batch.inputs.set(tokens.subarray(start, start + count), row * T);
  batch.targets.set(tokens.subarray(start + 1, start + 1 + count), row * T);
  batch.sampleIds[row] = sampleId; // modulo 2^32
}

/** Windows of T+1 tokens, overlapping by one, that make every token but the first a target exactly once. */
export function countWindows(numTokens: number, seqLen: number): number {
  return Math.max(0, Math.ceil((numTokens - 1) / seqLen));
}

/** Consecutive windows of a token stream, from window `first` on; the last one is padded. Sample ids count the windows. */
export function windowBatch(tokens: TokenArray, first: number, rows: number, seqLen: number): Batch {
  const batch = emptyBatch(rows, seqLen);
  for (let row = 0; row < rows; row++) fillRow(batch, row, tokens, (first + row) * seqLen, first + row);
  return batch;
}

/**
 * The windows of a text of any length that comes in chunks, in batches of `rows` (the last one may have fewer), in
 * memory that does not depend on the text's length.
 */
export async function* textBatches(
  tokenizer: Tokenizer,
  chunks: AsyncIterable<string> | Iterable<string>,
  seqLen: number,
  rows: number,
): AsyncGenerator<Batch> {
  const waiting = new Int32Array(rows * seqLen + 1); // tokens of the next batch
  let count = 0;
  let first = 0; // window
  for await (const ids of encodeChunks(tokenizer, chunks)) {
    for (let taken = 0; taken < ids.length;) {
      const part = ids.subarray(taken, taken + waiting.length - count);
      waiting.set(part, count);
      taken += part.length;
      count += part.length;
      if (count < waiting.length) break;
      yield numbered(windowBatch(waiting, 0, rows, seqLen), first);
      first += rows;
      waiting[0] = waiting[count - 1]; // the last target is the next input
      count = 1;
    }
  }
  const rest = countWindows(count, seqLen);
  if (rest > 0) yield numbered(windowBatch(waiting.subarray(0, count), 0, rest, seqLen), first);
}

function numbered(batch: Batch, first: number): Batch {
  return { ...batch, sampleIds: batch.sampleIds.map((id) => first + id) };
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
