/** What a run is made of, from its config. */
import { deriveRun } from "../config/derive.ts";
import { deriveModel } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import { join } from "@std/path";
import type { Dataset, DatasetOptions } from "../data/dataset.ts";
import { checkObjective } from "../data/objectives/check.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import { readIfThere } from "../train/durable.ts";
import { resolveModelFolder } from "../train/findCheckpoint.ts";
import type { EngineSpec } from "../engine/spec.ts";

/** @param folder the run's; null: nothing is kept @param text in place of `config.data` */
export async function datasetOptions(
  config: RunConfig,
  folder: string | null,
  text?: string,
): Promise<DatasetOptions> {
  return {
    data: text === undefined ? config.data : { text },
    tokenizer: config.from === null ? config.tokenizer : await tokenizerOf(config.from) ?? config.tokenizer,
    bpeVocabSize: config.bpeVocabSize,
    seqLen: config.model.seqLen,
    architecture: config.model.architecture,
    objective: config.objective,
    packing: config.packing,
    seed: config.seed,
    validationFraction: config.validation.fraction,
    folder,
  };
}

/** The tokenizer that weights were trained with goes on with them; null: their folder has none. */
async function tokenizerOf(from: string): Promise<Tokenizer | null> {
  const path = join(await resolveModelFolder(from, () => {}), "tokenizer.json");
  return await readIfThere(path) === null ? null : await readTokenizer(path);
}

/** What a dataset's ids need of a model. */
interface DataVocabulary extends Pick<Dataset, "vocabSize"> {
  /** null: not known yet, so that nothing is held against it. */
  readonly tokenizer: Pick<Tokenizer, "vocabSize" | "endOfText"> | null;
}

/** Of a text that was not read: nothing is held against it. */
export const UNREAD: DataVocabulary = { tokenizer: null, vocabSize: 0 };

/** @throws UserError for sizes and options that don't fit together, or too small a vocabulary for the dataset */
export function engineSpec(
  config: RunConfig,
  { tokenizer, vocabSize }: DataVocabulary,
): EngineSpec {
  checkObjective(config.model, config.objective, config.packing, tokenizer);
  const { microBatchSize, update } = deriveRun(config);
  const model = deriveModel(config.model, vocabSize);
  return {
    model,
    microBatchSize,
    columns: model.seqLen,
    training: {
      optimizer: update,
      clip: config.optimizer.clip,
      seed: config.seed,
      virtualWorkers: config.scale.virtualWorkers,
      recompute: config.engine.recompute,
    },
  };
}
