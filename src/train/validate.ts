import { countTargets, stackBatches } from "../data/batch.ts";
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
    try {
      losses.push(...(await engine.evaluate(stackBatches(parts), signal)).rowLoss);
    } catch (error) {
      if (error === signal?.reason) return null;
      throw error;
    }
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
