import { deriveModel, deriveRun } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Dataset, type DatasetOptions, openDataset } from "../data/dataset.ts";
import type { Engine, EngineReport } from "../engine/engine.ts";
import { openLocalEngine, planEngine } from "../engine/localEngine.ts";
import type { EngineSpec } from "../engine/programs.ts";
import { openWorkerEngine } from "../engine/workerEngine.ts";
import { UserError } from "../errors.ts";
import { generateText } from "../eval/generate.ts";
import { openRunFolder, type RunFolder } from "../train/runFolder.ts";
import { runTraining, type TrainingOptions, type TrainingResult } from "../train/trainer.ts";

/** How `trainRun` works, beside what it trains. */
export interface TrainRunOptions
  extends Pick<TrainingOptions, "signal" | "onProgress" | "onValidation" | "onSample" | "onMessage"> {
  /** Where the run is kept. null: nowhere. */
  readonly folder: string | null;
  /** The text itself, in place of `config.data`. */
  readonly text?: string;
  /**
   * A GPU of the caller's. The engine then runs on the caller's thread and blocks it while it waits for the GPU;
   * without it the engine opens a GPU in a Worker of its own.
   */
  readonly device?: GPUDevice;
  /** What was found and made, before the first step. */
  readonly onReady?: (ready: Ready) => void;
  /** Kernels made ready so far. */
  readonly onCompile?: (done: number, total: number) => void;
  /** Text that the trained model goes on with at the end; null: no sample. */
  readonly finalPrompt?: string | null;
}

export interface Ready {
  readonly dataset: Dataset;
  readonly report: EngineReport;
  readonly totalSteps: number;
}

export interface TrainRunResult extends TrainingResult {
  /** What the trained model writes after `finalPrompt`. */
  readonly sample: string | null;
  /** What was held out, for comparisons. */
  readonly dataset: Dataset;
}

/**
 * Trains a run from its config, or goes on with the one that its folder holds.
 *
 * @throws UserError for a mistake in config, data or folder, or too little memory; RetryError if the GPU was lost
 */
export async function trainRun(config: RunConfig, options: TrainRunOptions): Promise<TrainRunResult> {
  using folder = options.folder === null ? null : await openRunFolder(options.folder, config);
  const dataset = await openDataset(datasetOptions(config, folder, options.text));
  const spec = engineSpec(config, dataset.tokenizer.vocabSize);
  const engine = await openEngine(spec, config, options);
  try {
    options.onReady?.({ dataset, report: engine.report, totalSteps: deriveRun(config).totalSteps });
    const { samplePrompt, sampleTokens } = config.log;
    const sampleFrom = async (prompt: string) => {
      const sampling = {
        maxTokens: sampleTokens,
        temperature: 0.8,
        seed: config.seed,
        signal: options.signal,
      };
      let text = prompt;
      for await (const piece of generateText(engine, spec.model, dataset.tokenizer, prompt, sampling)) {
        text += piece;
      }
      return text;
    };
    const sampleText = config.log.sampleEvery === null ? undefined : () => sampleFrom(samplePrompt);
    const result = await runTraining({ ...options, config, engine, dataset, folder, sampleText });
    const { finalPrompt = null } = options;
    const sample = finalPrompt === null || result.interrupted ? null : await sampleFrom(finalPrompt);
    return { ...result, sample, dataset };
  } finally {
    await engine.close();
  }
}

/** What a run would take, without allocating anything on the GPU or writing anything. */
export async function planRun(config: RunConfig, text?: string) {
  const dataset = await openDataset(datasetOptions(config, null, text));
  const spec = engineSpec(config, dataset.tokenizer.vocabSize);
  const report = await planEngine(spec, { maxBinding: config.engine.maxBinding });
  return { spec: spec.model, report, run: deriveRun(config), dataset };
}

function datasetOptions(
  config: RunConfig,
  folder: RunFolder | null,
  text: string | undefined,
): DatasetOptions {
  return {
    data: text === undefined ? config.data : { text },
    tokenizer: config.tokenizer,
    bpeVocabSize: config.bpeVocabSize,
    seqLen: config.model.seqLen,
    seed: config.seed,
    validationFraction: config.validation.fraction,
    folder: folder?.path ?? null,
  };
}

function engineSpec(config: RunConfig, vocabSize: number): EngineSpec {
  const { beta1, beta2, eps, weightDecay, clip } = config.optimizer;
  const model = deriveModel(config.model, vocabSize);
  return {
    model,
    microBatchSize: deriveRun(config).microBatchSize,
    columns: model.seqLen,
    training: {
      ...{ beta1, beta2, eps, weightDecay, clip },
      seed: config.seed,
      virtualWorkers: config.scale.virtualWorkers,
      recompute: config.engine.recompute,
    },
  };
}

async function openEngine(spec: EngineSpec, config: RunConfig, options: TrainRunOptions): Promise<Engine> {
  const { device, onCompile } = options;
  const engineOptions = { maxBinding: config.engine.maxBinding, onCompile };
  if (device !== undefined) return await openLocalEngine(spec, { ...engineOptions, device });
  return await openWorkerEngine(spec, engineOptions);
}

/** The memory of a software adapter is the machine's. @throws UserError if a run needs more than is free */
export function checkMemory(report: EngineReport, freeBytes: number): void {
  if (!report.isSoftware || report.bytes.total <= freeBytes) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new UserError(
    `The run needs ${gib(report.bytes.total)} of memory, but ${
      gib(freeBytes)
    } are free: lower train.microBatchSize or the model's size, or set engine.recompute=true`,
  );
}
