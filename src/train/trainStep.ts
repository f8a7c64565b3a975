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

/** Where a sum goes that leaves the engine. */
export interface SumTarget {
  /** (sumLength), shared memory */
  readonly into: Float32Array;
  /** In how many parts it comes, about: 1 when it is whole. */
  readonly parts: number;
  /** Told of each stretch of values once it is there. Must not throw. */
  readonly onFinal: (from: number, to: number) => void;
}

/**
 * Forward and backward of the samples of some virtual workers: the engine's sum is that over the subtree.
 *
 * @param workers a whole subtree of the tree over all of them
 * @param target gets the sum, if it is to leave the engine
 * @returns false if the signal came first: the sum is not whole
 */
export async function sumGradients(
  engine: Engine,
  dataset: Dataset,
  step: Step,
  virtualWorkers: number,
  workers: WorkerRange,
  signal?: AbortSignal,
  target?: SumTarget,
): Promise<boolean> {
  const { microBatchSize } = engine.report;
  await engine.beginStep(workers.to - workers.from);
  for (let worker = workers.from; worker < workers.to; worker++) {
    const share = workerShare(worker, virtualWorkers, step.batchSize);
    const index = worker - workers.from;
    for (let row = share.from; row < share.to; row += microBatchSize) {
      if (signal?.aborted) return false;
      const rows = Math.min(microBatchSize, share.to - row);
      const micro = dataset.batch(step.firstSample + row, rows);
      const isLast = worker === workers.to - 1 && row + rows === share.to;
      try {
        if (isLast && target !== undefined && target.parts > 1) {
          const last = { micro, step: step.step, worker: index };
          await engine.finishSum(last, target.into, target.parts, target.onFinal, signal);
          return !signal?.aborted;
        }
        await engine.accumulate(micro, step.step, signal);
      } catch (error) {
        if (error === signal?.reason) return false;
        throw error;
      }
    }
    await engine.endWorker(index);
  }
  if (signal?.aborted) return false;
  if (target !== undefined) {
    await engine.readSum(target.into);
    target.onFinal(0, target.into.length);
  }
  return true;
}
