import { dirname, join, resolve } from "@std/path";
import type { ModelSpec } from "../config/derive.ts";
import { resolveConfig } from "../config/load.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { Engine, EngineReport } from "../engine/engine.ts";
import { openLocalEngine } from "../engine/localEngine.ts";
import type { EngineSpec } from "../engine/programs.ts";
import { openWorkerEngine } from "../engine/workerEngine.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { readIfThere } from "../train/durable.ts";
import { checkpointsOf, resolveModelFolder } from "../train/findCheckpoint.ts";
import { readModelSpec } from "../train/modelFiles.ts";
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

export interface LoadOptions {
  /**
   * A GPU of the caller's. The model then runs on the caller's thread and blocks it while it waits for the GPU;
   * without it the model opens a GPU in a Worker of its own.
   */
  readonly device?: GPUDevice;
  /** Largest storage binding in bytes. null: the adapter's limit. */
  readonly maxBinding?: number | null;
  /** One-line news for the user: a damaged checkpoint was passed over. */
  readonly onMessage?: (text: string) => void;
  /** Kernels made ready so far. */
  readonly onCompile?: (done: number, total: number) => void;
}

/** What is scored; without any of it the part of its run's data that the model was not trained on. */
export interface EvaluateOptions extends ScoringOptions {
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
  /** The checkpoint, or the Hugging Face folder, whose weights these are. */
  readonly folder: string;
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
 * @param path a run (its newest intact checkpoint is taken), a checkpoint, or a folder with a GPT-2 of Hugging Face
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
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  const folder = await resolveModelFolder(path, options.onMessage ?? (() => {}));
  const spec = readModelSpec(folder);
  const tokenizer = await tokenizerOf(folder, spec);
  const microBatchSize = Math.min(MAX_ROWS, Math.max(1, Math.floor(TOKENS_AT_ONCE / spec.seqLen)));
  const engine = await openEngine(
    { model: spec, microBatchSize, columns: spec.seqLen, training: null },
    options,
  );
  try {
    await loadWeights(engine, folder, spec);
  } catch (error) {
    await engine.close();
    throw error;
  }

  /** @throws UserError if the model knows no text */
  const needTokenizer = (): Tokenizer => {
    if (tokenizer !== null) return tokenizer;
    throw new UserError(
      `${
        quote(folder)
      } has no tokenizer.json, so the model knows no text: put its tokenizer.json there, or use token ids`,
    );
  };
  return {
    spec,
    tokenizer,
    folder,
    report: engine.report,
    async *generate(prompt, options) {
      yield* generateText(engine, spec, needTokenizer(), prompt, options);
    },
    generateTokens: (prompt, options) => generateTokens(engine, spec, prompt, options),
    async evaluate({ text, tokens, ...options } = {}) {
      if (tokens !== undefined) {
        requireTokens(tokens, spec.vocabSize);
        return await evaluateTokens(engine, tokenizer, tokens, options);
      }
      if (text === undefined) return await evaluateDataset(engine, await datasetOf(folder), options);
      const chunks = typeof text === "string" ? [text] : text;
      return await evaluateText(engine, needTokenizer(), chunks, options);
    },
    close: () => engine.close(),
    [Symbol.asyncDispose]: () => engine.close(),
  };
}

async function openEngine(spec: EngineSpec, options: LoadOptions): Promise<Engine> {
  return options.device === undefined
    ? await openWorkerEngine(spec, options)
    : await openLocalEngine(spec, options);
}

async function tokenizerOf(folder: string, { vocabSize }: ModelSpec): Promise<Tokenizer | null> {
  const path = join(folder, "tokenizer.json");
  if (await readIfThere(path) === null) return null;
  const tokenizer = await readTokenizer(path);
  if (tokenizer.vocabSize <= vocabSize) return tokenizer;
  throw new UserError(
    `${
      quote(path)
    } has ${tokenizer.vocabSize} tokens, but the model knows ${vocabSize}: put the model's own there`,
  );
}

/** The data of the run that a checkpoint belongs to, as it was tokenized for training. */
async function datasetOf(folder: string): Promise<Dataset> {
  const run = dirname(dirname(resolve(folder)));
  const path = join(run, "config.jsonc");
  const text = checkpointsOf(run) === dirname(resolve(folder)) ? await readIfThere(path) : null;
  if (text === null) {
    throw new UserError(
      `${quote(folder)} is no checkpoint in a run's folder, so nothing is held out: give a text`,
    );
  }
  if (await readIfThere(join(run, "data", "data.json")) === null) {
    throw new UserError(`${quote(run)} no longer has its tokens (data/data.json): give a text`);
  }
  const { data, tokenizer, bpeVocabSize, model: { seqLen }, seed, validation } = resolveConfig({
    file: { path, text },
  });
  const validationFraction = validation.fraction;
  return await openDataset({ data, tokenizer, bpeVocabSize, seqLen, seed, validationFraction, folder: run });
}
