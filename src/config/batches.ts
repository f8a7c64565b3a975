import { UserError } from "../errors.ts";
import type { RunConfig } from "./schema.ts";

/** The samples of a step: `firstSample` to `firstSample + batchSize` (exclusive) of the run's stream. */
export interface GlobalBatch {
  readonly firstSample: number;
  readonly batchSize: number;
}

/** The sizes of a run's batches: a pure function of the step. */
export interface BatchSequence {
  /** The batch of a step, from 1. */
  batchAt(step: number): GlobalBatch;
  /** Samples in the first `steps` steps. */
  samplesAfter(steps: number): number;
  /** The fewest steps that hold at least `samples` samples. */
  stepsFor(samples: number): number;
}

/** A run of steps with the same batch size; the last one has no end. */
interface Stage {
  readonly firstStep: number;
  readonly firstSample: number;
  readonly batchSize: number;
}

/**
 * Batches of `train.batchSize`, or with `train.rampUp` growing to it by Megatron-LM's rule
 * (`RampupBatchsizeNumMicroBatchesCalculator`): the first `samples` samples are cut into as many equal parts as there
 * are increments, and a step takes the size of the part in which its first sample lies.
 *
 * @throws UserError if the increments don't lead from `start` to the batch size
 */
export function batchSequence(train: RunConfig["train"]): BatchSequence {
  const stages = train.rampUp === null
    ? [{ firstStep: 1, firstSample: 0, batchSize: train.batchSize }]
    : rampUpStages(train.batchSize, train.rampUp);

  function batchAt(step: number): GlobalBatch {
    if (!Number.isInteger(step) || step < 1) {
      throw new Error(`step is ${step}, expected a whole number from 1`);
    }
    const stage = stages.findLast((stage) => stage.firstStep <= step) ?? stages[0];
    const firstSample = stage.firstSample + (step - stage.firstStep) * stage.batchSize;
    return { firstSample, batchSize: stage.batchSize };
  }

  return {
    batchAt,
    samplesAfter: (steps) => batchAt(steps + 1).firstSample,
    stepsFor(samples) {
      const stage = stages.findLast((stage) => stage.firstSample < samples);
      if (stage === undefined) return 0;
      return stage.firstStep - 1 + Math.ceil((samples - stage.firstSample) / stage.batchSize);
    },
  };
}

function rampUpStages(batchSize: number, rampUp: NonNullable<RunConfig["train"]["rampUp"]>): Stage[] {
  const { start, increment, samples } = rampUp;
  const parts = (batchSize - start) / increment;
  if (!Number.isInteger(parts) || parts < 0) {
    throw new UserError(
      `train.rampUp goes from ${start} in steps of ${increment}, expected to meet train.batchSize (${batchSize})`,
    );
  }
  const stages: Stage[] = [];
  let firstStep = 1;
  let firstSample = 0;
  for (let part = 0; part < parts; part++) {
    const size = start + part * increment;
    const end = Math.ceil((part + 1) * samples / parts);
    // none where the step before reached over this whole part
    const steps = Math.max(0, Math.ceil((end - firstSample) / size));
    if (steps > 0) stages.push({ firstStep, firstSample, batchSize: size });
    firstStep += steps;
    firstSample += steps * size;
  }
  return [...stages, { firstStep, firstSample, batchSize }];
}
