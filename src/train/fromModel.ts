/** What a run takes over from the weights that it starts with (`from` of its config). */
import { existsSync } from "node:fs";
import { join } from "@std/path";
import { deriveModel, type ModelSpec } from "../config/deriveModel.ts";
import type { Settings } from "../config/layers.ts";
import type { RunConfig } from "../config/schema.ts";
import { objectiveVocabSize, vocabularyOf } from "../data/objectives/vocabulary.ts";
import { bytesTokenizer } from "../data/tokenizers/bytes.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import { readKeptTokenizer } from "../data/tokenStore.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { readSpecialTokens, type SpecialTokens } from "../formats/hf/specialTokens.ts";
import { checkpointPath, listCheckpoints } from "./checkpoint.ts";
import { readIfThere } from "./durable.ts";
import { checkpointsOf } from "./findCheckpoint.ts";
import { readConfigJson, readModelSpec } from "./modelFiles.ts";
import { settingsOf } from "./modelFormat.ts";
import { readKeptConfig } from "./runFolder.ts";
import { requireSameModel } from "./weights.ts";

/** A model that a run starts from, without its weights. */
export interface SourceModel {
  /** What messages call it. */
  readonly folder: string;
  readonly spec: ModelSpec;
  /** null: the folder has none. */
  readonly tokenizer: Tokenizer | null;
  readonly specialTokens: SpecialTokens;
}

/**
 * Reads what goes on with a model's weights. Once the run has a checkpoint those weights are its own, and so is all
 * else: a run outlives its source.
 *
 * @param from a run, a checkpoint or a model of Hugging Face, of which config.json, tokenizer.json and names of tensors
 * are read
 * @param run the folder of the run that goes on with them; null: it has none
 * @throws UserError if there is no such model, or its tokenizer is not understood
 */
export async function readSourceModel(from: string, run: string | null): Promise<SourceModel> {
  const own = run === null ? null : await readOwnModel(run);
  if (own !== null) return own;
  if (!existsSync(from)) {
    const where = run === null
      ? ", on this machine, too: a node that keeps no run folder reads its config.json and tokenizer.json each time; " +
        "the weights may be missing where another node of its group has them"
      : "";
    throw new UserError(
      `${quote(from)} is not there; name a run, a checkpoint or a folder with a model (from=...)${where}`,
    );
  }
  return await readModelOf(await modelFolder(from));
}

/** The model of a run with a checkpoint, by what its folder keeps beside them; null: it has none, or keeps too little. */
async function readOwnModel(run: string): Promise<SourceModel | null> {
  if ((await listCheckpoints(checkpointsOf(run))).length === 0) return null;
  const [kept, text] = await Promise.all([readKeptConfig(run), readKeptTokenizer(run)]);
  if (kept === null || text === null) return null;
  const { config: { model } } = kept;
  const { tokenizer, data: { specialTokens } } = text;
  if (model.vocabSize === null || specialTokens === null) return null; // it began without weights
  return { folder: run, spec: deriveModel(model, model.vocabSize), tokenizer, specialTokens };
}

async function readModelOf(folder: string): Promise<SourceModel> {
  const spec = readModelSpec(folder);
  const specialTokens = readSpecialTokens(readConfigJson(folder));
  const path = join(folder, "tokenizer.json");
  const tokenizer = await readIfThere(path) === null ? null : await readTokenizer(path);
  return { folder, spec, tokenizer, specialTokens };
}

/** How to train, which is no business of the weights that a run starts from. */
const OF_TRAINING: readonly string[] = [
  "dropout",
  "attentionDropout",
  "zLoss",
  "initStd",
  "scaledResidualInit",
];

/**
 * The settings that weights bring with them, `{ model: ... }`: to be laid over the presets and under all that a user
 * sets. `settleModel` then fills in the size of the vocabulary.
 */
export function modelSettings({ spec }: Pick<SourceModel, "spec">): Settings {
  const model = { ...settingsOf(spec), ...openSizes(spec), vocabSize: null };
  return { model: Object.fromEntries(Object.entries(model).filter(([key]) => !OF_TRAINING.includes(key))) };
}

/** Sizes that follow from others are left open: to set those others is told as what it is. */
function openSizes(spec: ModelSpec): Settings {
  const { modelDim, numHeads, numKvHeads, headDim, ffnDim } = spec;
  const usual = deriveModel({ ...settingsOf(spec), ffnDim: "equal-parameters" }, spec.vocabSize);
  return {
    numKvHeads: numKvHeads === numHeads ? null : numKvHeads,
    headDim: headDim * numHeads === modelDim ? null : headDim,
    ffnDim: ffnDim === usual.ffnDim ? "equal-parameters" : ffnDim,
  };
}

/**
 * The config with the size of its vocabulary: unless it is set, that of the weights, or a larger one if the objective
 * needs more ids.
 *
 * @throws UserError if weights of decoders are to become an encoder's or the other way round, or as `tokenizerFor`
 */
export function settleModel(config: RunConfig, source: SourceModel): RunConfig {
  const { model, objective, tokenizer } = config;
  const { folder, spec } = source;
  const { architecture, seqLen } = model;
  if ((architecture === "encoderDecoder") !== (spec.numEncoderLayers > 0)) {
    const possible = spec.numEncoderLayers > 0 ? "encoderDecoder" : "causalDecoder or nonCausalDecoder";
    throw new UserError(
      `model.architecture is ${architecture}, but the weights of ${quote(folder)} are those of ` +
        `${spec.architecture === "encoderDecoder" ? "an" : "a"} ${spec.architecture}, expected ${possible}`,
    );
  }
  const vocabulary = vocabularyOf(tokenizerFor(source, tokenizer), source.specialTokens);
  const needed = objectiveVocabSize(vocabulary, { architecture, seqLen, objective });
  return { ...config, model: { ...model, vocabSize: model.vocabSize ?? Math.max(spec.vocabSize, needed) } };
}

/**
 * The tokenizer that weights were trained with.
 *
 * @param kind what the config asks for: with weights whose folder has no tokenizer only bytes, whose ids are the same
 * everywhere
 * @throws UserError for another kind, or a tokenizer that has more tokens than the weights know
 */
export function tokenizerFor(
  { folder, spec, tokenizer: own }: SourceModel,
  kind: RunConfig["tokenizer"],
): Tokenizer {
  if (own === null && kind !== "bytes") {
    throw new UserError(
      `${
        quote(folder)
      } has no tokenizer.json, and ids that tokenizer=${kind} makes from the text mean nothing to its ` +
        "weights: put the model's tokenizer.json there, or set tokenizer=bytes if its ids are bytes",
    );
  }
  const tokenizer = own ?? bytesTokenizer();
  if (tokenizer.vocabSize <= spec.vocabSize) return tokenizer;
  throw new UserError(
    `The weights of ${quote(folder)} know ${spec.vocabSize} ids, but the tokenizer (${tokenizer.kind}) has ` +
      `${tokenizer.vocabSize}: put the model's own tokenizer.json there`,
  );
}

/**
 * Holds a model against the weights that it is to start from, before anything is allocated.
 *
 * @throws UserError if they are another model's: every setting that differs
 */
export function requireModelOf(source: SourceModel, spec: ModelSpec): void {
  requireSameModel(source.folder, source.spec, spec);
}

/** Of a run the newest checkpoint, intact or not: they all have the same model. */
async function modelFolder(path: string): Promise<string> {
  const newest = (await listCheckpoints(checkpointsOf(path))).at(-1);
  return newest === undefined ? path : checkpointPath(checkpointsOf(path), newest);
}
