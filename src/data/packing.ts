import { type Batch, IGNORE } from "./batch.ts";

/** Documents that share a row; the config's `packing`. */
export interface PackingOptions {
  /** Tokens see their own document alone. */
  readonly separate: boolean;
  /** Positions start again with each document. */
  readonly restartPositions: boolean;
}

/**
 * Keeps the documents of each row apart: a token sees its own document up to itself, and the last one of a document has
 * no target. With `restartPositions` a token's place counts from its document's first token in the row.
 *
 * @param batch causal rows (B, T) of a decoder
 * @param documentStarts for each row the columns, from 1 to T and ascending, at which another document starts
 */
export function separateDocuments(
  batch: Batch,
  documentStarts: readonly (readonly number[])[],
  restartPositions: boolean,
): Batch {
  const { rows, columns: T } = batch;
  const targets = batch.targets.slice(); // (B, T)
  const spans = new Uint32Array(rows * T * 2); // (B, T, 2)
  const places = new Uint32Array(rows * T); // (B, T)
  documentStarts.forEach((starts, row) => {
    for (const start of starts) targets[row * T + start - 1] = IGNORE;
    let [start, next] = [0, 0];
    for (let t = 0; t < T; t++) {
      if (starts[next] === t) start = starts[next++];
      spans.set([start, t + 1], 2 * (row * T + t));
      places[row * T + t] = t - start;
    }
  });
  return { ...batch, targets, spans, ...(restartPositions ? { places } : {}) };
}
