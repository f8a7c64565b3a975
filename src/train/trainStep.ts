import { workerShare } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine, Update } from "../engine/engine.ts";
import type { ErrorFeedback } from "./errorFeedback.ts";
import { roundSum } from "./wire.ts";

/** A step of training: what is read, and what the optimizer is told. */
export interface Step extends Update {
  /** First sample of the global batch in the run's stream of samples. */
  readonly firstSample: number;
  /** Samples of the global batch. */
  readonly batchSize: number;
}

/** Virtual workers `from` (inclusive) to `to` (exclusive). */
export interface WorkerRange {
  readonly from: number;
  readonly to: number;
}

/**
 * One step of training: forward and backward of the global batch, micro-batch by micro-batch, then the optimizer.
 *
 * Each virtual worker owns a fixed share of the batch, and the shares' gradients are added along a fixed tree. So the
 * new weights are the same bits wherever and in whatever portions the work is done.
 *
 * @returns false if the signal came first: the step is dropped and the state is as before
 */
export async function trainStep(
  engine: Engine,
  dataset: Dataset,
  step: Step,
  { virtualWorkers, wire }: RunConfig["scale"],
  signal?: AbortSignal,
  feedback: ErrorFeedback | null = null,
): Promise<boolean> {
  const all = { from: 0, to: virtualWorkers };
  if (!await sumGradients(engine, dataset, step, virtualWorkers, all, signal)) return false;
  await roundSum(engine, wire, feedback);
  await engine.update({ step: step.step, learningRate: step.learningRate });
  return true;
}

/**
 * Forward and backward of the samples of some virtual workers: the engine's sum is that over the subtree.
 *
 * @param workers a whole subtree of the tree over all of them
 * @returns false if the signal came first: the sum is not whole
 */
export async function sumGradients(
  engine: Engine,
  dataset: Dataset,
  step: Step,
  virtualWorkers: number,
  workers: WorkerRange,
  signal?: AbortSignal,
): Promise<boolean> {
  await engine.beginStep(workers.to - workers.from);
  for (let worker = workers.from; worker < workers.to; worker++) {
    const share = workerShare(worker, virtualWorkers, step.batchSize);
    for (let row = share.from; row < share.to; row += engine.report.microBatchSize) {
      if (signal?.aborted) return false;
      const rows = Math.min(engine.report.microBatchSize, share.to - row);
      try {
        await engine.accumulate(dataset.batch(step.firstSample + row, rows), step.step, signal);
      } catch (error) {
        if (error === signal?.reason) return false;
        throw error;
      }
    }
    await engine.endWorker(worker - workers.from);
  }
  return !signal?.aborted;
}
