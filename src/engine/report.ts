/**
 * What an engine takes, counted from its recorded programs: nothing is allocated for it.
 */
import type { Gpu } from "../gpu/device.ts";
import { LIVE_STRIDE, STACKS } from "../gpu/kernel.ts";
import { STAGING_BYTES } from "../gpu/staging.ts";
import { type Placement, poolBytes, uniformBytes } from "../gpu/place.ts";
import { decays } from "../model/parameters.ts";
import type { EngineReport } from "./engine.ts";
import { mostWaiting } from "./layout.ts";
import { sumLength } from "./sumTransfer.ts";
import { type EnginePrograms, placementsOf } from "./programs.ts";
import type { EngineSpec } from "./spec.ts";

/** What an engine would take, before anything is allocated. */
export interface EngineNeeds extends EngineReport {
  /**
   * Of the host's memory, where `hostSums` keeps partial sums there: those that wait for their twins, at most, and the one
   * that they are added to.
   */
  readonly hostSumBytes: number;
}

export function reportOf(spec: EngineSpec, programs: EnginePrograms, gpu: Gpu): EngineNeeds {
  const tokens = spec.microBatchSize * spec.columns;
  const { training } = spec;
  const length = training === null ? 0 : sumLength(programs.tensors.partials[0]);
  return {
    adapter: gpu.adapterName,
    isSoftware: gpu.isSoftware,
    microBatchSize: spec.microBatchSize,
    columns: spec.columns,
    parameters: programs.tensors.weights.tensors.map(({ name, shape }) => ({
      name,
      shape,
      decays: decays(shape),
    })),
    optimizerState: programs.tensors.optimizerState.flatMap(({ tensors }) =>
      tensors.map(({ name, shape }) => ({ name, shape }))
    ),
    bytes: countBytes(programs, gpu.limits.maxBuffer),
    hostSumBytes: training?.hostSums ? hostSumBytes(length, training.virtualWorkers) : 0,
    sumLength: length,
    flopsPerToken: countFlops(programs.train ?? programs.evaluate) / tokens,
    startup: { deviceMs: 0, recordMs: 0, compileMs: 0, placeMs: 0 },
  };
}

/** Bytes of the sums that the host has while it adds those of so many virtual workers: one alone is not added to another. */
export function hostSumBytes(sumLength: number, virtualWorkers: number): number {
  return virtualWorkers === 1 ? 0 : 4 * sumLength * (mostWaiting(virtualWorkers) + 1);
}

/** Bytes that an engine takes, by what they are for. */
function countBytes(programs: EnginePrograms, maxBuffer: number): EngineReport["bytes"] {
  const { tensors } = programs;
  const placements = placementsOf(programs);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const weights = tensors.weights.bytes;
  const gradients = sum(tensors.partials.map(({ gradients }) => gradients.bytes));
  const moments = sum(tensors.optimizerState.map(({ bytes }) => bytes));
  const copies = Math.min(Math.max(weights, moments), STAGING_BYTES); // on their way to a checkpoint
  const total = copies + sum(tensors.arenas.map(({ bytes }) => bytes)) +
    sum(poolBytes(placements, maxBuffer)) +
    sum(placements.map(uniformBytes)) + LIVE_STRIDE * STACKS;
  return { weights, gradients, moments, activations: total - weights - gradients - moments, total };
}

/** Floating-point operations of a placement, at the recorded size. */
function countFlops({ segments }: Placement): number {
  return segments.reduce((sum, { dispatches }) => dispatches.reduce((s, { flops }) => s + flops, sum), 0);
}
