/**
 * Records an engine's programs for an adapter, and tells the user what does not fit it.
 */
import { UserError } from "../errors.ts";
import { Choices } from "../gpu/choices.ts";
import type { Gpu } from "../gpu/device.ts";
import { poolBytes } from "../gpu/place.ts";
import type { Watch } from "../gpu/signal.ts";
import { BYTES_PER_ELEMENT, type EngineLimits } from "../gpu/tensor.ts";
import { tune } from "../gpu/tuner.ts";
import { modelParameters } from "../model/parameters.ts";
import { matmulQuestion } from "../ops/matmul.ts";
import { type EnginePrograms, placementsOf, recordPrograms } from "./programs.ts";
import type { EngineSpec } from "./spec.ts";
import { openTuningCache } from "./tuningCache.ts";

/** Runs `work`; where something is too large for the adapter, the user is told so, with what helps. */
export function advised<T>(advice: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new UserError(`${error.message}: ${advice}`);
    throw error;
  }
}

/** @throws UserError if the model does not fit the adapter's limits */
export function record(spec: EngineSpec, { limits }: Gpu, choices?: Choices): EnginePrograms {
  checkParameters(spec, limits);
  const programs = advised(
    "choose a smaller model, or a larger engine.maxBinding if it is set",
    () => recordPrograms(spec, { ...limits, choices }),
  );
  const advice = `lower ${spec.microBatchSize > 1 ? "train.microBatchSize" : "model.seqLen"}`;
  advised(advice, () => poolBytes(placementsOf(programs), limits.maxBuffer));
  return programs;
}

function checkParameters({ model }: EngineSpec, { maxBuffer }: EngineLimits): void {
  for (const { name, shape } of modelParameters(model)) {
    const bytes = shape.reduce((product, size) => product * size, BYTES_PER_ELEMENT.f32);
    if (bytes <= maxBuffer) continue;
    throw new UserError(
      `${name} [${shape}] takes ${bytes} bytes, more than a buffer of this adapter holds (${maxBuffer}): ` +
        `lower ${shape[0] === model.vocabSize ? "the vocabulary or " : ""}model.modelDim`,
    );
  }
}

/**
 * As `record`, with the variants that are fastest on this adapter; those that are not known yet are measured first, and
 * the answers kept, also if the signal ends it.
 */
export async function recordTuned(spec: EngineSpec, gpu: Gpu, watch: Watch): Promise<EnginePrograms> {
  const cache = openTuningCache(gpu.adapterKey);
  const choices = new Choices(cache.read());
  const programs = record(spec, gpu, choices);
  const asked = new Set(choices.open);
  if (asked.size === 0) return programs;
  try {
    await tune(gpu, choices, (name) => matmulQuestion(gpu.limits, name), watch);
  } finally {
    cache.merge(choices.answers.filter(([question]) => asked.has(question)));
  }
  return record(spec, gpu, choices);
}
