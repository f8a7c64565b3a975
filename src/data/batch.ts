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
  /** (B, T) where each token stands. Absent: in its column. */
  readonly places?: Uint32Array;
  /** (B, T, 2) the columns that each token sees, see `Spans`. Absent: those up to its own. */
  readonly spans?: Spans;
  /** What the encoder reads, where there is one. */
  readonly source?: SourceRows;
}

/**
 * (B, T, 2) for each token the columns that it sees: from (inclusive) and to (exclusive). Neither falls along a row.
 * That covers every mask in use: causal, a prefix, documents that don't see one another, all that is not padding.
 */
export type Spans = Uint32Array;

/** The encoder's rows of a batch, as many as the decoder's. */
export interface SourceRows {
  /** S */
  readonly columns: number;
  /** (B, S) row-major. */
  readonly inputs: Int32Array;
  /** (B, S) where each token stands. Absent: in its column. */
  readonly places?: Uint32Array;
  /** (B, S, 2) source columns that each source token sees. Absent: all. */
  readonly spans?: Spans;
  /** (B, T, 2) source columns that each token of the decoder sees. Absent: all. */
  readonly crossSpans?: Spans;
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
  const { columns: T, source } = batch;
  const S = source?.columns ?? 0;
  return {
    rows: to - from,
    columns: T,
    inputs: batch.inputs.subarray(from * T, to * T),
    targets: batch.targets.subarray(from * T, to * T),
    sampleIds: batch.sampleIds.subarray(from, to),
    places: batch.places?.subarray(from * T, to * T),
    spans: batch.spans?.subarray(2 * from * T, 2 * to * T),
    source: source && {
      columns: S,
      inputs: source.inputs.subarray(from * S, to * S),
      places: source.places?.subarray(from * S, to * S),
      spans: source.spans?.subarray(2 * from * S, 2 * to * S),
      crossSpans: source.crossSpans?.subarray(2 * from * T, 2 * to * T),
    },
  };
}

/** The rows of batches of one shape, one batch below the other. */
export function stackBatches(parts: readonly Batch[]): Batch {
  const [{ columns, places, spans, source }] = parts;
  const signed = (of: (part: Batch) => Int32Array) => Int32Array.from(parts.flatMap((part) => [...of(part)]));
  const unsigned = (of: (part: Batch) => Uint32Array) =>
    Uint32Array.from(parts.flatMap((part) => [...of(part)]));
  return {
    rows: parts.reduce((rows, part) => rows + part.rows, 0),
    columns,
    inputs: signed((part) => part.inputs),
    targets: signed((part) => part.targets),
    sampleIds: unsigned((part) => part.sampleIds),
    places: places && unsigned((part) => part.places!),
    spans: spans && unsigned((part) => part.spans!),
    source: source && {
      columns: source.columns,
      inputs: signed((part) => part.source!.inputs),
      places: source.places && unsigned((part) => part.source!.places!),
      spans: source.spans && unsigned((part) => part.source!.spans!),
      crossSpans: source.crossSpans && unsigned((part) => part.source!.crossSpans!),
    },
  };
}
