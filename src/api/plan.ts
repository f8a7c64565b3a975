import { deriveRun } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import { statCorpus } from "../data/corpus.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import { type EnginePlan, planEngine } from "../engine/plan.ts";
import { countParameters } from "../model/parameters.ts";
import { readSourceModel, requireModelOf } from "../train/fromModel.ts";
import { datasetOptions, engineSpec, expectedVocabulary } from "./parts.ts";
import { resolveSettings, type RunSettings } from "./settings.ts";

/** What a run would take. */
export interface Plan
  extends Pick<EnginePlan, "adapter" | "isSoftware" | "microBatchSize" | "bytes" | "obstacle"> {
  /** null: the text was not read, since `model.vocabSize` is given and nothing else depends on it. */
  readonly corpus: Pick<Dataset, "source" | "trainTokens" | "validationTokens"> | null;
  /** Numbers in the weights. */
  readonly parameters: number;
  /** Floating point operations of a step with a whole batch, forward and backward. */
  readonly flopsPerStep: number;
  readonly totalSteps: number;
}

export interface PlanOptions {
  /** As for `train`; nothing is written there. */
  readonly folder?: string | null;
  readonly device?: GPUDevice;
}

/**
 * What a run would take, without allocating anything on the GPU or writing anything; also where it would not fit.
 *
 * @throws UserError for a mistake in the settings or the data, or if there is no GPU adapter
 *
 * @example
 * ```ts
 * const { parameters, bytes } = await plan({ preset: "default", model: { numLayers: 12 } });
 * ```
 */
export async function plan(settings: RunSettings = {}, options: PlanOptions = {}): Promise<Plan> {
  const { config, text } = await resolveSettings(settings, options.folder);
  return await planRun(config, { ...options, text });
}

/** As `plan`, from a whole config. @param options.text the text itself, in place of `config.data` */
export async function planRun(
  config: RunConfig,
  options: PlanOptions & { readonly text?: string } = {},
): Promise<Plan> {
  const source = config.from === null ? null : await readSourceModel(config.from, options.folder ?? null);
  const expected = expectedVocabulary(config, source);
  engineSpec(config, expected); // mistakes in the model show before the text is read
  const dataset = config.model.vocabSize === null
    ? await openDataset(datasetOptions(config, source, null, options.text))
    : null;
  if (dataset === null && options.text === undefined && config.data !== null) await statCorpus(config.data);
  const spec = engineSpec(config, dataset ?? expected);
  if (source !== null) requireModelOf(source, spec.model);
  const { maxBinding } = config.engine;
  const planned = await planEngine(spec, { maxBinding, device: options.device });
  const { adapter, isSoftware, microBatchSize, bytes, flopsPerToken, obstacle } = planned;
  return {
    ...{ adapter, isSoftware, microBatchSize, bytes, obstacle },
    corpus: dataset && describe(dataset),
    parameters: countParameters(spec.model),
    flopsPerStep: flopsPerToken * config.train.batchSize * spec.columns,
    totalSteps: deriveRun(config).totalSteps,
  };
}

function describe({ source, trainTokens, validationTokens }: Dataset): Plan["corpus"] {
  return { source, trainTokens, validationTokens };
}
