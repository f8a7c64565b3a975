/** Where a model comes from, and what follows from it for the texts that it is given. */
import { dirname, resolve } from "@std/path";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Dataset, openKeptDataset } from "../data/dataset.ts";
import { checkObjective } from "../data/objectives/check.ts";
import type { ObjectiveOptions } from "../data/objectives/objective.ts";
import {
  objectiveVocabSize,
  textEnds,
  type Vocabulary,
  vocabularyOf,
} from "../data/objectives/vocabulary.ts";
import { CAUSAL_ROWS, createRowFormat, type RowFormat } from "../data/rows.ts";
import { parseTokenizer } from "../data/tokenizers/load.ts";
import { NO_FRAME, type Tokenizer } from "../data/tokenizers/tokenizer.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { readSpecialTokens } from "../formats/hf/specialTokens.ts";
import { readIfThere } from "../train/durable.ts";
import { checkpointsOf } from "../train/findCheckpoint.ts";
import { modelPath, type ModelSource, readConfigJson, sourceName } from "../train/modelFiles.ts";
import { readKeptConfig } from "../train/runFolder.ts";
import { createPromptFormat, type PromptFormat } from "./promptFormat.ts";

/** What is known of a model beside its weights. */
export interface Origin {
  readonly source: ModelSource;
  readonly spec: ModelSpec;
  /** Tokens of a row. */
  readonly columns: number;
  /** null: there is none that is understood. */
  readonly tokenizer: Tokenizer | null;
  /** Why there is none. */
  readonly noText: string;
  /** Whose checkpoint it is; null: none that is there. */
  readonly run: { readonly folder: string; readonly config: RunConfig } | null;
  /** Without a run the next token for a causal decoder, and what follows a prefix for others. */
  readonly objective: ObjectiveOptions;
  readonly vocabulary: Vocabulary;
  /** Ids that end a text. */
  readonly ends: readonly number[];
}

/** @throws UserError for a tokenizer, a run's config or special tokens that are damaged or don't fit the model */
export async function readOrigin(source: ModelSource, spec: ModelSpec, columns: number): Promise<Origin> {
  const { tokenizer, noText } = await tokenizerOf(source, spec);
  const run = typeof source === "string" ? await runOf(source) : null;
  const kind = spec.architecture === "causalDecoder" ? "causal" : "prefix";
  return {
    ...{ source, spec, columns, tokenizer, noText, run },
    objective: run?.config.objective ?? { ...CAUSAL_ROWS.objective, kind },
    ...readVocabulary(source, spec, tokenizer),
  };
}

/** How the model is asked to write on. @throws UserError if there are too few columns */
export function promptFormatOf(
  { spec: { architecture }, objective, columns, vocabulary, ends, run, tokenizer }: Origin,
): PromptFormat {
  // Our own runs never saw in training what a post-processor adds.
  const frame = run === null && tokenizer !== null ? tokenizer.frame : NO_FRAME;
  const framed = architecture === "encoderDecoder" ? frame : { ...frame, after: [] };
  return createPromptFormat({ architecture, objective, columns, ends, frame: framed }, vocabulary);
}

/**
 * How a text becomes rows: one document, by the model's objective.
 *
 * @throws UserError if there are too few columns for the objective, or too many for the ids that the model knows
 */
export function rowFormatOf(origin: Origin): RowFormat {
  const { spec: { architecture }, objective, columns: seqLen, vocabulary, run } = origin;
  const { packing } = CAUSAL_ROWS;
  checkRows(origin);
  return createRowFormat(
    { architecture, objective, packing, seqLen, seed: run?.config.seed ?? 0 },
    vocabulary,
  );
}

function checkRows({ spec: { architecture, vocabSize }, objective, columns, vocabulary }: Origin): void {
  const model = { architecture, seqLen: columns, vocabSize: null };
  checkObjective(model, objective, CAUSAL_ROWS.packing, vocabulary);
  const needed = objectiveVocabSize(vocabulary, { architecture, objective, seqLen: columns });
  if (needed > vocabSize) {
    throw new UserError(
      `Rows of ${columns} tokens with objective ${objective.kind} need ids up to ${needed - 1}, ` +
        `but the model knows those up to ${vocabSize - 1}: take a shorter context`,
    );
  }
}

/** The data that the model's run held out, as it was tokenized for training. @throws UserError if it is not there */
export async function datasetOf(origin: Origin): Promise<Dataset> {
  const { source, run, columns } = origin;
  if (typeof source !== "string") {
    throw new UserError("The model's files came without data, so nothing is held out: give a text");
  }
  if (run === null) {
    throw new UserError(
      `${quote(source)} is no checkpoint in a run's folder, so nothing is held out: give a text`,
    );
  }
  checkRows(origin);
  const { folder, config: { model: { architecture }, objective, packing, seed } } = run;
  const dataset = await openKeptDataset(folder, { architecture, objective, packing, seed, seqLen: columns });
  if (dataset !== null) return dataset;
  throw new UserError(`${quote(folder)} no longer has its tokens (data/data.json): give a text`);
}

/**
 * The tokenizer of a model folder. One that is missing or not understood keeps no model from working on token ids.
 *
 * @throws UserError for one that has more tokens than the model
 */
export async function tokenizerOf(
  source: ModelSource,
  { vocabSize }: ModelSpec,
): Promise<Pick<Origin, "tokenizer" | "noText">> {
  const path = modelPath(source, "tokenizer.json");
  const text = typeof source === "string" ? await readIfThere(path) : source["tokenizer.json"] ?? null;
  if (text === null) {
    const where = quote(sourceName(source));
    return {
      tokenizer: null,
      noText:
        `${where} has no tokenizer.json, so the model knows no text: put its tokenizer.json there, or use token ids`,
    };
  }
  let tokenizer: Tokenizer;
  try {
    tokenizer = parseTokenizer(text, path);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { tokenizer: null, noText: error.message };
  }
  if (tokenizer.vocabSize <= vocabSize) return { tokenizer, noText: "" };
  throw new UserError(
    `${
      quote(path)
    } has ${tokenizer.vocabSize} tokens, but the model knows ${vocabSize}: put the model's own there`,
  );
}

/** The run whose folder a checkpoint lies in; null: none. */
async function runOf(checkpoint: string): Promise<Origin["run"]> {
  const folder = dirname(dirname(resolve(checkpoint)));
  if (checkpointsOf(folder) !== dirname(resolve(checkpoint))) return null;
  const kept = await readKeptConfig(folder);
  return kept && { folder, config: kept.config };
}

/** What config.json and the tokenizer say of special tokens. */
function readVocabulary(
  source: ModelSource,
  { vocabSize, architecture }: ModelSpec,
  tokenizer: Tokenizer | null,
): Pick<Origin, "vocabulary" | "ends"> {
  const known = tokenizer ?? { vocabSize, endOfText: null, sentinels: [] };
  const tokens = readSpecialTokens(readConfigJson(source));
  const { decoder_start_token_id: start } = tokens;
  if (architecture === "encoderDecoder" && start !== null && start >= vocabSize) {
    throw new UserError(
      `config.json: decoder_start_token_id is ${start}, expected an id below the model's vocab_size ${vocabSize}`,
    );
  }
  return { vocabulary: vocabularyOf(known, tokens), ends: textEnds(known, tokens) };
}
