/** What a run is made of, from its config. */
import { deriveModel, deriveRun } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import type { DatasetOptions } from "../data/dataset.ts";
import type { EngineSpec } from "../engine/programs.ts";

/** @param folder the run's; null: nothing is kept @param text in place of `config.data` */
export function datasetOptions(config: RunConfig, folder: string | null, text?: string): DatasetOptions {
  return {
    data: text === undefined ? config.data : { text },
    tokenizer: config.tokenizer,
    bpeVocabSize: config.bpeVocabSize,
    seqLen: config.model.seqLen,
    seed: config.seed,
    validationFraction: config.validation.fraction,
    folder,
  };
}

/** @param vocabSize the tokenizer's @throws UserError for sizes that don't fit together */
export function engineSpec(config: RunConfig, vocabSize: number): EngineSpec {
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
