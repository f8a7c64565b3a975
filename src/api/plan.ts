import { deriveRun } from "../config/derive.ts";
import { parameterCount } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import { openDataset } from "../data/dataset.ts";
import type { EngineReport } from "../engine/engine.ts";
import { planEngine } from "../engine/localEngine.ts";
import { datasetOptions, engineSpec } from "./parts.ts";
import { resolveSettings, type RunSettings } from "./settings.ts";

/** What a run would take. */
export interface Plan extends Pick<EngineReport, "adapter" | "isSoftware" | "microBatchSize" | "bytes"> {
  /** Where the text comes from. */
  readonly source: string;
  readonly trainTokens: number;
  readonly validationTokens: number;
  /** Numbers in the weights. */
  readonly parameters: number;
  /** Floating point operations of a step with a whole batch, forward and backward. */
  readonly flopsPerStep: number;
  readonly totalSteps: number;
}

/**
 * What a run would take, without allocating anything on the GPU or writing anything.
 *
 * @throws UserError for a mistake in the settings or the data, or if there is no GPU adapter
 *
 * @example
 * ```ts
 * const { parameters, bytes } = await plan({ preset: "default", model: { numLayers: 12 } });
 * ```
 */
export async function plan(
  settings: RunSettings = {},
  options: { readonly device?: GPUDevice } = {},
): Promise<Plan> {
  const { config, text } = resolveSettings(settings);
  return await planRun(config, { ...options, text });
}

/** As `plan`, from a whole config. @param options.text the text itself, in place of `config.data` */
export async function planRun(
  config: RunConfig,
  options: { readonly device?: GPUDevice; readonly text?: string } = {},
): Promise<Plan> {
  const dataset = await openDataset(await datasetOptions(config, null, options.text));
  const spec = engineSpec(config, dataset);
  const { maxBinding } = config.engine;
  const report = await planEngine(spec, { maxBinding, device: options.device });
  const { adapter, isSoftware, microBatchSize, bytes, flopsPerToken } = report;
  const { source, trainTokens, validationTokens } = dataset;
  return {
    ...{ adapter, isSoftware, microBatchSize, bytes },
    ...{ source, trainTokens, validationTokens },
    parameters: parameterCount(spec.model),
    flopsPerStep: flopsPerToken * config.train.batchSize * spec.columns,
    totalSteps: deriveRun(config).totalSteps,
  };
}
