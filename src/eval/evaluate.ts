import { type Batch, IGNORE } from "../data/batch.ts";
import type { Dataset } from "../data/dataset.ts";
import { countBytes, type Tokenizer } from "../data/tokenizers/tokenizer.ts";
import { causalRows, type RowFormat } from "../data/rows.ts";
import { countWindows, oneDocument, textBatches, windowBatch } from "../data/windows.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { Ratio } from "../train/ratio.ts";

/**
 * What a model makes of a text. Standard errors come from the spread between rows, which are taken as independent; they
 * are NaN where there is only one row.
 */
export interface Evaluation {
  /** Mean cross entropy of a token, in nats. */
  readonly loss: number;
  readonly lossStandardError: number;
  /** exp(loss); its standard error by the delta method. */
  readonly perplexity: number;
  readonly perplexityStandardError: number;
  /** Bits for each UTF-8 byte of what was predicted; null without a tokenizer. */
  readonly bitsPerByte: number | null;
  readonly bitsPerByteStandardError: number | null;
  /** Tokens that were predicted: in causal rows all but the text's first. */
  readonly tokens: number;
  /** UTF-8 bytes of these tokens; null without a tokenizer. */
  readonly bytes: number | null;
  /** Rows of the model's context length that the text was cut into. */
  readonly rows: number;
}

export interface ScoringOptions {
  /** How a text becomes rows; by default those of a causal decoder. */
  readonly format?: RowFormat;
  /** Is told after each batch what has come out so far. */
  readonly onProgress?: (soFar: Evaluation) => void;
  /** Ends the work: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Scores batches, one at a time.
 *
 * @param tokenizer what the tokens stand for, for bits per byte
 * @throws UserError if there is no token to predict
 */
export async function evaluateBatches(
  engine: Engine,
  tokenizer: Tokenizer | null,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  { onProgress, signal }: ScoringOptions = {},
): Promise<Evaluation> {
  const perToken = new Ratio();
  const perByte = new Ratio();
  const soFar = () => evaluationOf(perToken, tokenizer && perByte);
  for await (const batch of batches) {
    signal?.throwIfAborted();
    const { rowLoss } = await engine.evaluate(batch); // (B)
    for (let row = 0; row < batch.rows; row++) {
      const targets = targetsOf(batch, row);
      perToken.add(rowLoss[row], targets.length);
      if (tokenizer !== null) {
        perByte.add(rowLoss[row] / Math.LN2, countBytes(tokenizer, targets, tokenizer.sentinels));
      }
    }
    onProgress?.(soFar());
  }
  signal?.throwIfAborted();
  if (perToken.total === 0) {
    throw new UserError(
      "The text has fewer than 2 tokens, so there is nothing to predict: give a longer one",
    );
  }
  return soFar();
}

function evaluationOf(perToken: Ratio, perByte: Ratio | null): Evaluation {
  const { value: loss, standardError: lossStandardError } = perToken;
  const perplexity = Math.exp(loss);
  return {
    loss,
    lossStandardError,
    perplexity,
    perplexityStandardError: perplexity * lossStandardError,
    bitsPerByte: perByte && perByte.value,
    bitsPerByteStandardError: perByte && perByte.standardError,
    tokens: perToken.total,
    bytes: perByte && perByte.total,
    rows: perToken.rows,
  };
}

/** (targets that count) of a row. */
function targetsOf({ targets, columns }: Batch, row: number): Int32Array {
  return targets.subarray(row * columns, (row + 1) * columns).filter((target) => target !== IGNORE);
}

/**
 * Scores a text, in memory that does not depend on its length. It is cut into rows as in training. Causal ones are as
 * long as the engine's context: a row's first token has no context before it, and every token but the text's first is
 * predicted once.
 *
 * @param chunks the text in pieces of any size
 * @throws UserError if the text has fewer than two tokens, or the tokenizer can't encode it
 */
export async function evaluateText(
  engine: Engine,
  tokenizer: Tokenizer,
  chunks: AsyncIterable<string> | Iterable<string>,
  options: ScoringOptions = {},
): Promise<Evaluation> {
  const { columns, microBatchSize } = engine.report;
  const { format = causalRows(columns) } = options;
  return await evaluateBatches(
    engine,
    tokenizer,
    textBatches(tokenizer, chunks, format, microBatchSize),
    options,
  );
}

/** Scores token ids as `evaluateText` does a text. */
export async function evaluateTokens(
  engine: Engine,
  tokenizer: Tokenizer | null,
  tokens: Int32Array,
  options: ScoringOptions = {},
): Promise<Evaluation> {
  const { columns, microBatchSize } = engine.report;
  const { format = causalRows(columns) } = options;
  const rows = countWindows(tokens.length, format.windowLength);
  const stream = oneDocument(tokens);
  const batches = batchesOf(
    rows,
    microBatchSize,
    (first, count) => windowBatch(stream, first, count, format),
  );
  return await evaluateBatches(engine, tokenizer, batches, options);
}

/**
 * Scores the whole held-out part of a dataset.
 *
 * @throws UserError if nothing is held out
 */
export async function evaluateDataset(
  engine: Engine,
  dataset: Dataset,
  options?: ScoringOptions,
): Promise<Evaluation> {
  if (dataset.validationRows === 0) {
    throw new UserError("Nothing was held out of the run's data (validation.fraction is 0): give a text");
  }
  const { tokenizer, validationRows } = dataset;
  const batches = batchesOf(validationRows, engine.report.microBatchSize, dataset.validationBatch);
  return await evaluateBatches(engine, tokenizer, batches, options);
}

/** Rows 0 to `rows`, some at a time. */
function* batchesOf(
  rows: number,
  atOnce: number,
  batch: (first: number, count: number) => Batch,
): Generator<Batch> {
  for (let first = 0; first < rows; first += atOnce) yield batch(first, Math.min(atOnce, rows - first));
}
