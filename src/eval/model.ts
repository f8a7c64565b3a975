import { dirname, join, resolve } from "@std/path";
import type { ModelSpec } from "../config/deriveModel.ts";
import { resolveConfig } from "../config/load.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import { CAUSAL_ROWS, createRowFormat, type RowFormat } from "../data/rows.ts";
import { parseTokenizer } from "../data/tokenizers/load.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { EngineReport } from "../engine/engine.ts";
import type { LocalEngineOptions } from "../engine/localEngine.ts";
import { openEngine } from "../engine/open.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { readIfThere } from "../train/durable.ts";
import { checkpointsOf, resolveModelFolder } from "../train/findCheckpoint.ts";
import { modelPath, type ModelSource, readModelSpec, sourceName } from "../train/modelFiles.ts";
import { loadWeights } from "../train/weights.ts";
import {
  evaluateDataset,
  evaluateText,
  evaluateTokens,
  type Evaluation,
  type ScoringOptions,
} from "./evaluate.ts";
import {
  type GenerateOptions,
  generateText,
  generateTokens,
  requireTokens,
  type TokenOptions,
} from "./generate.ts";

/** `device`: a GPU of the caller's, whose thread then blocks; without it the model opens one in a Worker of its own. */
export interface LoadOptions extends Pick<LocalEngineOptions, "device" | "maxBinding" | "onCompile"> {
  /** One-line news for the user: a damaged checkpoint was passed over. */
  readonly onMessage?: (text: string) => void;
}

/** What is scored; without any of it the part of its run's data that the model was not trained on. */
export interface EvaluateOptions extends Omit<ScoringOptions, "format"> {
  /** A text, or the pieces of one of any length. */
  readonly text?: string | AsyncIterable<string> | Iterable<string>;
  /** Token ids, in place of a text. */
  readonly tokens?: Int32Array;
}

/** A trained model on a GPU. */
export interface Model extends AsyncDisposable {
  readonly spec: ModelSpec;
  /** null: the folder has no tokenizer.json, so the model knows token ids alone. */
  readonly tokenizer: Tokenizer | null;
  /** The checkpoint, or the Hugging Face folder, whose weights these are; null: they came from memory. */
  readonly folder: string | null;
  readonly report: EngineReport;
  /** Text after a prompt, in pieces as they come; see `generateText`. */
  generate(prompt: string, options?: GenerateOptions): AsyncGenerator<string>;
  /** Token ids after those of a prompt; see `generateTokens`. */
  generateTokens(prompt: ArrayLike<number>, options?: TokenOptions): AsyncGenerator<number>;
  /** Loss, perplexity and bits per byte; see `evaluateText`. */
  evaluate(options?: EvaluateOptions): Promise<Evaluation>;
  /** Frees the GPU's memory; the model is of no use after. */
  close(): Promise<void>;
}

/** Tokens that are scored at once. */
const TOKENS_AT_ONCE = 2048;
const MAX_ROWS = 16;

/**
 * Puts a model on the GPU, to generate and to be evaluated.
 *
 * @param from a run (its newest intact checkpoint is taken), a checkpoint, a folder with a GPT-2 of Hugging Face, or such
 * a folder's files in memory
 * @throws UserError if there is no such model, its files are damaged or don't fit together, or there is no GPU or too
 * little memory
 *
 * @example
 * ```ts
 * await using model = await loadModel("runs/default");
 * for await (const piece of model.generate("interface ")) console.log(piece);
 * const { bitsPerByte } = await model.evaluate();
 * ```
 */
export async function loadModel(from: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const source = typeof from === "string"
    ? await resolveModelFolder(from, options.onMessage ?? (() => {}))
    : from;
  const spec = readModelSpec(source);
  const tokenizer = await tokenizerOf(source, spec);
  const microBatchSize = Math.min(MAX_ROWS, Math.max(1, Math.floor(TOKENS_AT_ONCE / spec.seqLen)));
  const engine = await openEngine(
    { model: spec, microBatchSize, columns: spec.seqLen, training: null },
    options,
  );
  try {
    await loadWeights(engine, source, spec);
  } catch (error) {
    await engine.close();
    throw error;
  }

  /** @throws UserError if the model knows no text */
  const needTokenizer = (): Tokenizer => {
    if (tokenizer !== null) return tokenizer;
    throw new UserError(
      `${
        quote(sourceName(source))
      } has no tokenizer.json, so the model knows no text: put its tokenizer.json there, or use token ids`,
    );
  };
  return {
    spec,
    tokenizer,
    folder: typeof source === "string" ? source : null,
    report: engine.report,
    async *generate(prompt, options) {
      yield* generateText(engine, spec, needTokenizer(), prompt, options);
    },
    generateTokens: (prompt, options) => generateTokens(engine, spec, prompt, options),
    async evaluate({ text, tokens, ...options } = {}) {
      if (tokens !== undefined) {
        requireTokens(tokens, spec.vocabSize);
        const format = await textFormat(source, spec, tokenizer);
        return await evaluateTokens(engine, tokenizer, tokens, { ...options, format });
      }
      if (text === undefined) return await evaluateDataset(engine, await datasetOf(source), options);
      const chunks = typeof text === "string" ? [text] : text;
      const format = await textFormat(source, spec, needTokenizer());
      return await evaluateText(engine, needTokenizer(), chunks, { ...options, format });
    },
    close: () => engine.close(),
    [Symbol.asyncDispose]: () => engine.close(),
  };
}

async function tokenizerOf(source: ModelSource, { vocabSize }: ModelSpec): Promise<Tokenizer | null> {
  const path = modelPath(source, "tokenizer.json");
  const text = typeof source === "string" ? await readIfThere(path) : source["tokenizer.json"] ?? null;
  if (text === null) return null;
  const tokenizer = parseTokenizer(text, path);
  if (tokenizer.vocabSize <= vocabSize) return tokenizer;
  throw new UserError(
    `${
      quote(path)
    } has ${tokenizer.vocabSize} tokens, but the model knows ${vocabSize}: put the model's own there`,
  );
}

/** How a text becomes rows: by the objective of the run that the model belongs to, or causally. */
async function textFormat(
  source: ModelSource,
  { architecture, seqLen }: ModelSpec,
  tokenizer: Tokenizer | null,
): Promise<RowFormat> {
  const run = typeof source === "string" ? await runOf(source) : null;
  const { objective, seed } = run?.config ?? { ...CAUSAL_ROWS, seed: 0 };
  const { packing } = CAUSAL_ROWS; // a text is one document
  return createRowFormat({ architecture, objective, packing, seqLen, seed }, tokenizer ?? T5_TOKENS);
}

/** What stands for a vocabulary that is not known: T5's decoder starts with token 0. */
const T5_TOKENS = { vocabSize: 1, endOfText: 0 };

/** The run whose folder a checkpoint lies in; null: none. */
async function runOf(checkpoint: string): Promise<{ folder: string; config: RunConfig } | null> {
  const folder = dirname(dirname(resolve(checkpoint)));
  if (checkpointsOf(folder) !== dirname(resolve(checkpoint))) return null;
  const path = join(folder, "config.jsonc");
  const text = await readIfThere(path);
  return text === null ? null : { folder, config: resolveConfig({ file: { path, text } }) };
}

/** The data of the run that a checkpoint belongs to, as it was tokenized for training. */
async function datasetOf(source: ModelSource): Promise<Dataset> {
  if (typeof source !== "string") {
    throw new UserError("The model's files came without data, so nothing is held out: give a text");
  }
  const run = await runOf(source);
  if (run === null) {
    throw new UserError(
      `${quote(source)} is no checkpoint in a run's folder, so nothing is held out: give a text`,
    );
  }
  const { folder, config } = run;
  if (await readIfThere(join(folder, "data", "data.json")) === null) {
    throw new UserError(`${quote(folder)} no longer has its tokens (data/data.json): give a text`);
  }
  const { data, tokenizer, bpeVocabSize, model, objective, packing, seed, validation } = config;
  return await openDataset({
    ...{ data, tokenizer, bpeVocabSize, objective, packing, seed, folder },
    architecture: model.architecture,
    seqLen: model.seqLen,
    validationFraction: validation.fraction,
  });
}
