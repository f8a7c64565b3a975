import { POSITIONS } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { EngineReport } from "../engine/engine.ts";
import type { LocalEngineOptions } from "../engine/localEngine.ts";
import { openEngine } from "../engine/open.ts";
import { UserError } from "../errors.ts";
import { resolveModelFolder } from "../train/findCheckpoint.ts";
import { type ModelSource, readModelSpec } from "../train/modelFiles.ts";
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
import { datasetOf, promptFormatOf, readOrigin, rowFormatOf } from "./origin.ts";

/**
 * How a model is put on the GPU. `device`: a GPU of the caller's, whose thread then blocks; without it the model opens one
 * in a Worker of its own.
 */
export interface LoadOptions extends Pick<LocalEngineOptions, "device" | "maxBinding" | "onCompile"> {
  /**
   * Tokens that the model looks at together: its context when it generates, the rows into which a text is cut. By default
   * as many as it was trained with. Learned positions allow no more than that, others any number.
   */
  readonly contextLength?: number;
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
 * @param from a run (its newest intact checkpoint is taken), a checkpoint, a folder with a model of Hugging Face, or such
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
  const columns = options.contextLength ?? spec.seqLen;
  checkContext(spec, columns);
  const origin = await readOrigin(source, spec, columns);
  const { tokenizer } = origin;
  const microBatchSize = Math.min(MAX_ROWS, Math.max(1, Math.floor(TOKENS_AT_ONCE / columns)));
  const engine = await openEngine({ model: spec, microBatchSize, columns, training: null }, options);
  try {
    await loadWeights(engine, source, spec);
  } catch (error) {
    await engine.close();
    throw error;
  }

  /** @throws UserError if the model knows no text */
  const needTokenizer = (): Tokenizer => {
    if (tokenizer !== null) return tokenizer;
    throw new UserError(origin.noText);
  };
  return {
    spec,
    tokenizer,
    folder: typeof source === "string" ? source : null,
    report: engine.report,
    async *generate(prompt, options) {
      yield* generateText(engine, promptFormatOf(origin), needTokenizer(), prompt, options);
    },
    async *generateTokens(prompt, options) {
      yield* generateTokens(engine, promptFormatOf(origin), prompt, options);
    },
    async evaluate({ text, tokens, ...options } = {}) {
      if (tokens !== undefined) {
        requireTokens(tokens, spec.vocabSize);
        return await evaluateTokens(engine, tokenizer, tokens, { ...options, format: rowFormatOf(origin) });
      }
      if (text === undefined) return await evaluateDataset(engine, await datasetOf(origin), options);
      const chunks = typeof text === "string" ? [text] : text;
      return await evaluateText(engine, needTokenizer(), chunks, { ...options, format: rowFormatOf(origin) });
    },
    close: () => engine.close(),
    [Symbol.asyncDispose]: () => engine.close(),
  };
}

/** @throws UserError for a context that makes no sense, or is longer than the model's positions allow */
function checkContext({ positions, seqLen }: ModelSpec, columns: number): void {
  if (!Number.isInteger(columns) || columns < 1) {
    throw new UserError(`A context of ${columns} tokens makes no sense, expected a whole number above 0`);
  }
  if (POSITIONS[positions].rowPerPlace && columns > seqLen) {
    throw new UserError(
      `A context of ${columns} tokens is too long: the model has ${positions} positions, which end at ${seqLen}; ` +
        `expected at most that, or a model with other positions`,
    );
  }
}
