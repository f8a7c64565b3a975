/** What a run is made of, from its config. */
import { deriveRun } from "../config/derive.ts";
import { deriveModel } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset, DatasetOptions } from "../data/dataset.ts";
import { checkObjective } from "../data/objectives/check.ts";
import { objectiveVocabSize, type Vocabulary, vocabularyOf } from "../data/objectives/vocabulary.ts";
import { bytesTokenizer } from "../data/tokenizers/bytes.ts";
import type { EngineSpec } from "../engine/spec.ts";
import type { WireTypes } from "../net/sum/wireTypes.ts";
import { EXACT_VALUES } from "../train/bf16.ts";
import { type SourceModel, tokenizerFor } from "../train/fromModel.ts";
import type { Wire } from "../train/wire.ts";

/**
 * @param source what the run goes on from, if not from nothing
 * @param folder the run's; null: nothing is kept
 * @param text in place of `config.data`
 */
export function datasetOptions(
  config: RunConfig,
  source: SourceModel | null,
  folder: string | null,
  text?: string,
): DatasetOptions {
  return {
    data: text === undefined ? config.data : { text },
    tokenizer: source === null ? config.tokenizer : tokenizerFor(source, config.tokenizer),
    specialTokens: source?.specialTokens,
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

/** What a dataset's ids need of a model. */
interface DataVocabulary extends Pick<Dataset, "vocabSize"> {
  /** null: not known yet, so that nothing is held against it. */
  readonly vocabulary: Vocabulary | null;
}

/** Of a text that was not read: nothing is held against it. */
export const UNREAD: DataVocabulary = { vocabulary: null, vocabSize: 0 };

/**
 * What the ids of a text that was not read will need: by the size that a BPE is asked for, which a short text may stay
 * below.
 */
export function expectedVocabulary(config: RunConfig, source: SourceModel | null): DataVocabulary {
  const { tokenizer: kind, bpeVocabSize, model: { architecture, seqLen }, objective } = config;
  if (source === null && kind === "chars") return UNREAD;
  const bytes = bytesTokenizer();
  const tokenizer = source !== null
    ? tokenizerFor(source, kind)
    : kind === "bpe"
    ? { ...bytes, vocabSize: bpeVocabSize }
    : bytes;
  const vocabulary = vocabularyOf(tokenizer, source?.specialTokens ?? null);
  return { vocabulary, vocabSize: objectiveVocabSize(vocabulary, { architecture, seqLen, objective }) };
}

/** @throws UserError for sizes and options that don't fit together, or too small a vocabulary for the dataset */
export function engineSpec(
  config: RunConfig,
  { vocabulary, vocabSize }: DataVocabulary,
): EngineSpec {
  checkObjective(config.model, config.objective, config.packing, vocabulary);
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
      hostSums: config.engine.hostSums,
      recompute: config.engine.recompute,
    },
  };
}

/** How a group's sums travel. */
export function sumTravel(wire: Wire): { wire: WireTypes; exactValues: number } {
  const pieceType = wire === "bf16" ? "bf16" : "f32";
  const sumType = wire === "f32" ? "f32" : "bf16";
  return { wire: { pieceType, sumType }, exactValues: EXACT_VALUES };
}
