/** Copies what a step reads to the GPU. */
import { POSITIONS } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import { type Batch, IGNORE, type Spans } from "../data/batch.ts";
import type { Live } from "../gpu/kernel.ts";
import type { Runtime } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { StackInputs } from "../model/context.ts";
import { sortTokens, type TokenInputs } from "../ops/embedding.ts";
import type { EngineTensors } from "./layout.ts";
import type { EngineSpec } from "./spec.ts";

/** Rows of a decoder or of an encoder. */
export interface Rows {
  readonly rows: number;
  readonly columns: number;
  /** (rows, columns) */
  readonly inputs: Int32Array;
  /** Where they stand; absent: each in its column. */
  readonly places?: Uint32Array;
  /** Absent: `seen` says what each token sees. */
  readonly spans?: Spans;
}

/** What a token sees where a batch does not say it. */
export type DefaultSpan = (row: number, column: number) => readonly [from: number, to: number];

/**
 * Copies a batch to the GPU.
 *
 * @param withOrder the backward wants tokens sorted by id, too
 * @returns how much of the recorded size is in use, of the decoder's rows and of the encoder's
 * @throws Error if the batch is larger than the engine was made for, or an id is outside the vocabulary
 */
export function writeBatch(
  runtime: Runtime,
  { model, microBatchSize, columns }: EngineSpec,
  { decoder, encoder, crossSpans, samples, targets }: EngineTensors,
  batch: Batch,
  withOrder: boolean,
): Live[] {
  if (batch.rows > microBatchSize || batch.columns !== columns) {
    throw new Error(
      `A batch of ${batch.rows} x ${batch.columns} does not fit the engine's ${microBatchSize} x ${columns}`,
    );
  }
  if ((encoder === null) !== (batch.source === undefined)) {
    throw new Error(
      `A batch ${encoder ? "without" : "with"} source rows for a model ${
        encoder ? "with" : "without"
      } encoder`,
    );
  }
  const { vocabSize } = model;
  const wrong = batch.targets.find((id) => id !== IGNORE && (id < 0 || id >= vocabSize));
  if (wrong !== undefined) throw new Error(`Target ${wrong} is outside the vocabulary of ${vocabSize}`);
  runtime.write(samples.rows(0, batch.rows), Uint32Array.from(batch.sampleIds));
  runtime.write(targets.rows(0, batch.targets.length), Int32Array.from(batch.targets));
  const write = (stack: StackInputs, rows: Rows, seen: DefaultSpan) =>
    writeRows(runtime, stack, rows, seen, model, withOrder);
  const live = write(decoder, batch, (_row, column) => [0, column + 1]);
  if (encoder === null || crossSpans === null || batch.source === undefined) return [live];
  const { source } = batch;
  if (source.columns > encoder.columns) {
    throw new Error(`Source rows of ${source.columns} tokens do not fit the engine's ${encoder.columns}`);
  }
  const all: DefaultSpan = () => [0, source.columns];
  writeSpans(runtime, crossSpans, { ...batch, spans: source.crossSpans }, all, source.columns);
  const sourceLive = write(encoder, { ...source, rows: batch.rows }, all);
  return [{ ...live, source: source.columns }, sourceLive];
}

/** Copies the rows of a stack to the GPU; returns how much of the recorded size they are. */
export function writeRows(
  runtime: Runtime,
  { tokens, places, spans }: StackInputs,
  given: Rows,
  seen: DefaultSpan,
  { vocabSize, positions }: Pick<ModelSpec, "vocabSize" | "positions">,
  withOrder: boolean,
): Live {
  const { rows, columns, inputs } = given;
  const distinct = writeIds(runtime, tokens, Uint32Array.from(inputs), vocabSize, withOrder);
  const stand = given.places
    ? Uint32Array.from(given.places)
    : Uint32Array.from({ length: rows * columns }, (_, i) => i % columns);
  const mostPlaces = stand.reduce((most, place) => Math.max(most, place + 1), 0);
  // Only a learned table has a gradient that wants places sorted.
  const distinctPlaces = writeIds(
    runtime,
    places,
    stand,
    mostPlaces,
    withOrder && POSITIONS[positions].rowPerPlace,
  );
  writeSpans(runtime, spans, given, seen, Infinity);
  return { rows: rows * columns, batch: rows, columns, distinct, distinctPlaces };
}

function writeSpans(
  runtime: Runtime,
  tensor: Tensor,
  { rows, columns, spans }: Omit<Rows, "inputs">,
  seen: DefaultSpan,
  mostKeys: number,
): void {
  const values = spans ? Uint32Array.from(spans) : new Uint32Array(2 * rows * columns); // (rows, columns, 2)
  for (let i = 0; i < rows * columns; i++) {
    if (!spans) values.set(seen(Math.floor(i / columns), i % columns), 2 * i);
    const [from, to] = [values[2 * i], values[2 * i + 1]];
    const falls = i % columns > 0 && (from < values[2 * i - 2] || to < values[2 * i - 1]);
    if (from >= to || to > mostKeys || falls) {
      throw new Error(
        `Token ${i % columns} of row ${Math.floor(i / columns)} can't see columns ${from} to ${to}`,
      );
    }
  }
  runtime.write(tensor.rows(0, rows * columns), values);
}

/** Copies ids (M) to the GPU; returns the number of distinct ones if they are sorted, else 0. */
function writeIds(
  runtime: Runtime,
  tokens: TokenInputs,
  ids: Uint32Array<ArrayBuffer>,
  count: number,
  withOrder: boolean,
): number {
  const outside = ids.find((id) => id >= count);
  if (outside !== undefined) throw new Error(`Token id ${outside | 0} is outside the vocabulary of ${count}`);
  runtime.write(tokens.ids.rows(0, ids.length), ids);
  if (!withOrder) return 0;
  const { distinctIds, starts, order } = sortTokens(ids, count);
  runtime.write(tokens.distinctIds.rows(0, distinctIds.length), distinctIds);
  runtime.write(tokens.starts.rows(0, starts.length), starts);
  runtime.write(tokens.order.rows(0, order.length), order);
  return distinctIds.length;
}
