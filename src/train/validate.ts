import { type Batch, countTargets } from "../data/batch.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { Ratio } from "./ratio.ts";

/** What a model makes of text that it has not been trained on. */
export interface Validation {
  /** Mean cross entropy of a token, in nats. */
  readonly loss: number;
  /** Of `loss`, from the spread between rows; NaN for a single row. */
  readonly standardError: number;
  readonly bitsPerByte: number;
  readonly perplexity: number;
  /** Rows that were scored. */
  readonly rows: number;
}

/**
 * Scores `samples` rows of the held-out part, spread evenly over it, or all of them.
 *
 * @returns null if there is no held-out part, or if the signal came first
 */
export async function validate(
  engine: Engine,
  dataset: Dataset,
  samples: number,
  signal?: AbortSignal,
): Promise<Validation | null> {
  const count = Math.min(samples, dataset.validationRows);
  if (count === 0) return null;
  const rows = Array.from({ length: count }, (_, i) => Math.floor(i * dataset.validationRows / count));
  const losses: number[] = []; // (rows) sums over each row's targets
  const targets: number[] = []; // (rows)
  for (let from = 0; from < count; from += engine.report.microBatchSize) {
    if (signal?.aborted) return null;
    const parts = rows.slice(from, from + engine.report.microBatchSize).map((row) =>
      dataset.validationBatch(row, 1)
    );
    losses.push(...(await engine.evaluate(stack(parts))).rowLoss);
    targets.push(...parts.map(countTargets));
  }
  return summarize(losses, targets, dataset.bytesPerToken);
}

/**
 * Mean loss of a token and its standard error; see `Ratio`.
 *
 * @param losses (R) each row's sum of cross entropies in nats
 * @param targets (R) each row's number of targets
 */
export function summarize(
  losses: readonly number[],
  targets: readonly number[],
  bytesPerToken: number,
): Validation {
  const perToken = new Ratio();
  losses.forEach((rowLoss, row) => perToken.add(rowLoss, targets[row]));
  const { value: loss, standardError, rows } = perToken;
  return {
    loss,
    standardError,
    bitsPerByte: loss / Math.LN2 / bytesPerToken,
    perplexity: Math.exp(loss),
    rows,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Batches of the same length, one below the other. */
function stack(parts: readonly Batch[]): Batch {
  const rows = sum(parts.map((part) => part.rows));
  const columns = parts[0].columns;
  const batch: Batch = {
    rows,
    columns,
    inputs: new Int32Array(rows * columns), // (B, T)
    targets: new Int32Array(rows * columns), // (B, T)
    sampleIds: new Uint32Array(rows), // (B)
  };
  let row = 0;
  for (const part of parts) {
    batch.inputs.set(part.inputs, row * columns);
    batch.targets.set(part.targets, row * columns);
    batch.sampleIds.set(part.sampleIds, row);
    row += part.rows;
  }
  return batch;
}
