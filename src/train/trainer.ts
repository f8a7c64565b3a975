import type { TrainState } from "./state.ts";
import { type TrainingOptions, type TrainingResult, TrainingRun } from "./trainingRun.ts";
import { trainStep } from "./trainStep.ts";

/**
 * Trains until `train.duration`, from the start or from the last checkpoint of the run's folder. A run that was stopped
 * at any step and goes on ends with the same digest as one that never stopped.
 *
 * @throws UserError if a step is not finite (policy `stop`), the disk is full, or the folder's run is another one; the
 * checkpoints that were saved are intact; the signal's reason if it comes before the first step is applied
 */
export async function runTraining(options: TrainingOptions): Promise<TrainingResult> {
  using run = new TrainingRun(options);
  let state = await run.start();
  while (true) {
    // Here nothing is queued: the engine holds exactly `state`.
    state = await run.betweenSteps(state);
    if (state.step === 0) options.signal?.throwIfAborted();
    if (run.isOver(state) || options.signal?.aborted) return await run.finish(state);
    state = await advance(run, state, options);
  }
}

/** Does steps until something is due, and reads their results. */
async function advance(run: TrainingRun, state: TrainState, options: TrainingOptions): Promise<TrainState> {
  const { config, engine, dataset, signal } = options;
  const begin = performance.now();
  let last = state.step;
  do {
    const step = run.stepAt(state, last + 1);
    if (!await trainStep(engine, dataset, step, config.scale, signal, run.feedback)) break;
    last++;
  } while (!run.mustSettle(state, last));
  return last === state.step ? state : await run.settle(state, begin);
}
