/**
 * What the model is fed: rows of token ids and of targets.
 *
 * `targets[b, t]` is the token that position t must predict (already moved by one), or IGNORE: no loss there.
 */
export interface Batch {
  /** Rows that hold data, B. */
  readonly rows: number;
  /** Columns, T. */
  readonly columns: number;
  /** (B, T) row-major. */
  readonly inputs: Int32Array;
  /** (B, T) row-major. */
  readonly targets: Int32Array;
  /** (B) index of each row in the run's stream of samples: the key of its random numbers. */
  readonly sampleIds: Uint32Array;
}

/** A target without a loss. */
export const IGNORE = -100;

/** The number of targets that count. */
export function countTargets(batch: Batch): number {
  let count = 0;
  for (const target of batch.targets) if (target !== IGNORE) count++;
  return count;
}

/** Rows `from` (inclusive) to `to` (exclusive) of a batch, as views. */
export function sliceBatch(batch: Batch, from: number, to: number): Batch {
  const T = batch.columns;
  return {
    rows: to - from,
    columns: T,
    inputs: batch.inputs.subarray(from * T, to * T),
    targets: batch.targets.subarray(from * T, to * T),
    sampleIds: batch.sampleIds.subarray(from, to),
  };
}
