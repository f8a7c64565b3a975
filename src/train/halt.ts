import type { RunSpec } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import type { Engine, StepResult } from "../engine/engine.ts";
import type { TrainState } from "./state.ts";
import type { Store } from "./store.ts";

/** So many failures with no progress between them are no accident. */
const MAX_HALTS = 10;

export interface HaltOptions {
  readonly config: RunConfig;
  readonly run: RunSpec;
  readonly engine: Engine;
  readonly store: Store;
  /** Where the run is kept; null: nowhere. */
  readonly folder: string | null;
  readonly onMessage: (text: string) => void;
}

/**
 * What a run does when a step's loss or gradient norm is not finite, by `train.nonFinite`:
 *
 * - `stop`: ends with a UserError; the checkpoints are as they were.
 * - `skip`: leaves the batch out and goes on with the next one. With `skippedStepCounts` the step is done without an
 *   update; without, the step is done again with the next batch, so neither schedule nor Adam's count advance.
 * - `rollback`: goes back to the last checkpoint of `checkpoint.every`, and on with the data after the failing batch.
 *
 * The sample offset keeps which samples a step reads a function of the state, so a resumed run reads the same.
 *
 * @returns a function from the state after the last applied step, and the step that failed, to the state to go on with
 */
export function openHaltPolicy(
  { config, run, engine, store, folder, onMessage }: HaltOptions,
): (state: TrainState, halted: StepResult) => Promise<TrainState> {
  const { nonFinite, skippedStepCounts } = config.train;
  /** A run keeps its rate, so that a lower one takes another run. */
  const lowerRate = () => {
    const from = folder === null || store.savedStep === 0 ? "" : ` from=${folder}`;
    return `start another run with name=...${from} and a lower optimizer.learningRate`;
  };
  let halts = 0;
  let furthest = 0;

  return async (state, halted) => {
    const { step } = halted;
    halts = state.step > furthest ? 1 : halts + 1;
    furthest = Math.max(furthest, step);
    const loss = halted.lossSum / halted.targetCount;
    const found = `Step ${step} has loss ${loss} and gradient norm ${halted.gradNorm}`;
    if (nonFinite === "stop") {
      const goOn = folder === null
        ? "set train.nonFinite=skip"
        : `start it again with train.nonFinite=skip or rollback: it goes on from step ${store.savedStep}`;
      throw new UserError(`${found}, expected finite numbers; ${lowerRate()}, or ${goOn}`);
    }
    if (halts > MAX_HALTS) {
      throw new UserError(`${found}, and so had the ${MAX_HALTS} tries before; ${lowerRate()}`);
    }
    const batch = run.batchAt(step);
    if (nonFinite === "rollback") {
      const back = await store.rollBack();
      await engine.clearHalt();
      onMessage(`${found}: back to step ${back.step}, and on with the data after that batch`);
      const next = state.sampleOffset + batch.firstSample + batch.batchSize;
      return { ...back, sampleOffset: next - run.progressAt(back.step).samples };
    }
    await engine.clearHalt();
    onMessage(`${found}: its batch is skipped`);
    if (skippedStepCounts) return { ...state, ...run.progressAt(step) };
    return { ...state, sampleOffset: state.sampleOffset + batch.batchSize };
  };
}
