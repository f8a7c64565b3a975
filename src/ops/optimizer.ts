import type { Recorder } from "../gpu/recorder.ts";
import { adafactor, type AdafactorOptions } from "./optimizers/adafactor.ts";
import { adamw, type AdamWOptions } from "./optimizers/adamw.ts";
import { type GradientNormTensors, recordGradientNorm } from "./optimizers/gradientNorm.ts";
import type { Optimizer, UpdateTensors } from "./optimizers/types.ts";

export type { Optimizer };

/** Steps whose results the GPU holds until the host reads them. */
export const RING_SLOTS = 256;
/** step, loss sum, sum of lse^2, targets, gradient norm, halt flag, 2 unused. */
export const RING_FIELDS = 8;

/** An optimizer with every number decided. */
export type OptimizerOptions = AdamWOptions | AdafactorOptions;

export function createOptimizer(options: OptimizerOptions): Optimizer {
  return options.kind === "adamw" ? adamw(options) : adafactor(options);
}

/**
 * Records the update: gradient norm, clipping, verdict, and the optimizer's step. The padding between tensors is 0 and
 * stays 0.
 *
 * @param clip largest global norm; 0: no clipping
 */
export function recordUpdate(
  recorder: Recorder,
  tensors: UpdateTensors & GradientNormTensors,
  optimizer: Optimizer,
  clip: number,
): void {
  recordGradientNorm(recorder, tensors, clip);
  optimizer.record(recorder, tensors);
}
