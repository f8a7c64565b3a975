import { UserError } from "../errors.ts";
import type { Amount } from "./amount.ts";
import { type BatchSequence, batchSequence, type GlobalBatch } from "./batches.ts";
import { deriveUpdate, type UpdateRule } from "./deriveUpdate.ts";
import { formatAmount } from "./format.ts";
import type { OptimizerConfig, RunConfig } from "./schema.ts";

/** How far a run has come, or will have come after a step. */
export interface Progress {
  /** Steps, from 1: step s is the s-th. */
  readonly step: number;
  /** Samples in all steps up to this one, its own batch included. */
  readonly samples: number;
  /** Tokens in them: samples times seqLen. */
  readonly tokens: number;
}

/** A schedule of the learning rate that needs no other part of the config. */
export interface OptimizerSpec
  extends Pick<OptimizerConfig, "learningRate" | "minLearningRate" | "schedule"> {
  readonly warmup: { readonly value: number; readonly unit: ProgressUnit };
  /** The learning rate falls from `from` to `to`, in one unit; null for schedules without an end. */
  readonly decay: { readonly from: number; readonly to: number; readonly unit: ProgressUnit } | null;
}

export type ProgressUnit = "steps" | "samples" | "tokens";

/** A run's length, its batches and its schedule, as functions of the step alone. */
export interface RunSpec {
  /** Rows of the largest micro-batch; never more than a virtual worker's share. */
  readonly microBatchSize: number;
  readonly totalSteps: number;
  readonly totalSamples: number;
  readonly totalTokens: number;
  readonly optimizer: OptimizerSpec;
  readonly update: UpdateRule;
  /** The batch of a step, from 1. */
  batchAt(step: number): GlobalBatch;
  /** What a run has consumed after a step; step 0 is the start. */
  progressAt(step: number): Progress;
  /** The number of steps that consume an amount: the first with which it is reached. */
  stepsFor(amount: Amount): number;
}

const MAX_DERIVED_MICRO_BATCH = 16;

/**
 * Length, batches and schedule of a run. Every function answers in constant time, whatever the step.
 *
 * @throws UserError for a ramp-up that doesn't divide, a duration of nothing, or rates that don't fit together
 */
export function deriveRun(config: RunConfig): RunSpec {
  const { train, model: { seqLen }, scale: { virtualWorkers } } = config;
  const sequence = batchSequence(train);
  const progressAt = (step: number): Progress => {
    const samples = sequence.samplesAfter(step);
    return { step, samples, tokens: samples * seqLen };
  };
  const stepsFor = (amount: Amount) => convert(amount, "steps", sequence, seqLen);
  const totalSteps = stepsFor(train.duration);
  if (totalSteps < 1) {
    throw new UserError(`train.duration is ${formatAmount(train.duration)}, expected at least one step`);
  }
  const total = progressAt(totalSteps);
  const largestShare = Math.ceil(train.batchSize / virtualWorkers);
  return {
    microBatchSize: Math.min(train.microBatchSize ?? MAX_DERIVED_MICRO_BATCH, largestShare),
    totalSteps,
    totalSamples: total.samples,
    totalTokens: total.tokens,
    optimizer: deriveOptimizer(config.optimizer, train.duration, (amount, unit) => {
      return convert(amount, unit, sequence, seqLen);
    }),
    update: deriveUpdate(config.optimizer),
    batchAt: sequence.batchAt,
    progressAt,
    stepsFor,
  };
}

/** In a line each: what a run will not do as its settings say. @throws UserError as `deriveRun` */
export function describeDeviations(config: RunConfig): string[] {
  const { train: { batchSize, microBatchSize, duration }, scale: { virtualWorkers }, optimizer: { warmup } } =
    config;
  const run = deriveRun(config);
  const lines: string[] = [];
  if (microBatchSize !== null && microBatchSize > run.microBatchSize) {
    const of = virtualWorkers > 1 ? ` for ${virtualWorkers} virtual workers` : "";
    lines.push(
      `train.microBatchSize is ${microBatchSize}, but a batch has ${batchSize} sequences${of}: ` +
        `${run.microBatchSize} at once`,
    );
  }
  if (run.stepsFor(warmup) > run.totalSteps) {
    lines.push(
      `optimizer.warmup (${formatAmount(warmup)}) is longer than train.duration (${
        formatAmount(duration)
      }): ` +
        "the learning rate only rises, and never gets to optimizer.learningRate",
    );
  }
  return lines;
}

/**
 * The samples of a global batch that belong to a virtual worker: `from` (inclusive) to `to` (exclusive).
 * Shares differ by one sample at most and are empty where there are more workers than samples.
 */
export function workerShare(
  worker: number,
  virtualWorkers: number,
  batchSize: number,
): { readonly from: number; readonly to: number } {
  return {
    from: Math.floor(worker * batchSize / virtualWorkers),
    to: Math.floor((worker + 1) * batchSize / virtualWorkers),
  };
}

/** Decides where the decay starts and ends, in the unit of `optimizer.decay`, else of the duration. */
function deriveOptimizer(
  optimizer: OptimizerConfig,
  duration: Amount,
  inUnit: (amount: Amount, unit: ProgressUnit) => number,
): OptimizerSpec {
  const { schedule, learningRate, minLearningRate } = optimizer;
  const warmup = { value: optimizer.warmup.value, unit: progressUnit(optimizer.warmup) };
  if (minLearningRate > learningRate) {
    throw new UserError(
      `optimizer.minLearningRate is ${minLearningRate}, expected at most optimizer.learningRate (${learningRate})`,
    );
  }
  if (schedule === "inverseSqrt" && warmup.value === 0) {
    throw new UserError(
      "optimizer.warmup is 0, expected more with inverseSqrt: it decays with warmup / progress",
    );
  }
  if (schedule === "constant" || schedule === "inverseSqrt") return { ...optimizer, warmup, decay: null };

  const unit = progressUnit(optimizer.decay ?? duration);
  const warm = inUnit(warmup, unit);
  if (schedule !== "wsd") {
    return {
      ...optimizer,
      warmup,
      decay: { from: warm, to: inUnit(optimizer.decay ?? duration, unit), unit },
    };
  }
  const to = inUnit(duration, unit);
  const length = optimizer.decay?.value ?? to / 5;
  return { ...optimizer, warmup, decay: { from: Math.max(warm, to - length), to, unit } };
}

/** Steps are whole and so rounded up; samples and tokens are exact in each other's unit. */
function convert(amount: Amount, unit: ProgressUnit, sequence: BatchSequence, seqLen: number): number {
  const from = progressUnit(amount);
  if (from === unit && unit !== "steps") return amount.value;
  const samples = {
    steps: () => sequence.samplesAfter(Math.ceil(amount.value)),
    samples: () => amount.value,
    tokens: () => amount.value / seqLen,
  };
  switch (unit) {
    case "steps":
      return from === "steps" ? Math.ceil(amount.value) : sequence.stepsFor(samples[from]());
    case "samples":
      return samples[from]();
    case "tokens":
      return samples[from]() * seqLen;
  }
}

function progressUnit({ unit }: Amount): ProgressUnit {
  if (unit === "steps" || unit === "samples" || unit === "tokens") return unit;
  throw new Error(`${unit} measures time, not progress`);
}
