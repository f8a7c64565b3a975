/** What an engine would take, before anything is allocated: what `--dry-run` shows. */
import { UserError } from "../errors.ts";
import { type Gpu, type GpuOptions, openGpu } from "../gpu/device.ts";
import { preferVulkan } from "./environment.ts";
import { availableMemory, checkMemory } from "./memory.ts";
import { record } from "./record.ts";
import { type EngineNeeds, reportOf } from "./report.ts";
import type { EngineSpec } from "./spec.ts";

export interface EnginePlan extends EngineNeeds {
  /**
   * What does not fit this adapter, or the machine's memory behind a software adapter, and what helps, in one line; the
   * numbers are then those of an adapter that it does fit. null: nothing stands in the way that can be known beforehand.
   */
  readonly obstacle: string | null;
}

/** @throws UserError if there is no adapter */
export async function planEngine(
  spec: EngineSpec,
  { freeMemory = availableMemory(), ...options }: GpuOptions & { readonly freeMemory?: number } = {},
): Promise<EnginePlan> {
  preferVulkan();
  const gpu = await openGpu(options);
  try {
    const tooLarge = refusalOf(() => record(spec, gpu));
    const planned = tooLarge === null ? gpu : withoutLimits(gpu);
    const report = reportOf(spec, record(spec, planned), planned);
    return { ...report, obstacle: tooLarge ?? refusalOf(() => checkMemory(report, freeMemory)) };
  } finally {
    gpu.close();
  }
}

/** An adapter whose buffers and bindings hold any tensor. */
function withoutLimits(gpu: Gpu): Gpu {
  return { ...gpu, limits: { ...gpu.limits, maxBinding: Infinity, maxBuffer: Infinity } };
}

/** The line with which `work` refuses; null: it does not. */
function refusalOf(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}
