import { z } from "zod";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { Stream, uniform } from "../random.ts";
import { sampleToken, type Sampling } from "./sample.ts";
import { stopFilter } from "./stop.ts";

/** How tokens are chosen, and how many. See `Sampling`. */
export interface TokenOptions extends Partial<Sampling> {
  /** The most tokens that are generated, 256 by default. */
  readonly maxTokens?: number;
  /** Same seed, same text: from 0 to 2^32 - 1, 0 by default. The random number of a token depends on it and on the token's position. */
  readonly seed?: number;
  /** Ends the text early. */
  readonly signal?: AbortSignal;
}

export interface GenerateOptions extends TokenOptions {
  /** Strings before which the text ends. */
  readonly stop?: readonly string[];
}

const number = (expected: string, isRight: (value: number) => boolean) =>
  z.custom<number>((value) => typeof value === "number" && isRight(value), `expected ${expected}`);
const integer = (expected: string, from: number, to = Number.MAX_SAFE_INTEGER) =>
  number(`a whole number ${expected}`, (value) => Number.isInteger(value) && value >= from && value <= to);

const optionsSchema = z.object({
  maxTokens: integer("from 0", 0).default(256),
  temperature: number("a number from 0", (value) => value >= 0 && value < Infinity).default(0.8),
  topK: integer("above 0", 1).nullable().default(null),
  topP: number("a number above 0 and at most 1", (value) => value > 0 && value <= 1).default(1),
  seed: integer("from 0 to 4294967295", 0, 0xffffffff).default(0),
});

/**
 * The options with their defaults.
 *
 * @param nameOf what an error calls an option: a command line has other names for them
 * @throws UserError for one that is out of range
 */
export function resolveTokenOptions(
  options: TokenOptions,
  nameOf: (option: string) => string = (option) => option,
): z.output<typeof optionsSchema> {
  const { success, data, error } = optionsSchema.safeParse(options);
  if (success) return data;
  const { path: [option], message } = error.issues[0];
  const value = Object.entries(options).find(([name]) => name === option)?.[1];
  throw new UserError(`${nameOf(String(option))} is ${value}, ${message}`);
}

/**
 * Generates token ids after those of a prompt, with a cache of keys and values.
 *
 * A model looks back at most `seqLen` tokens. Of a longer prompt the last seqLen count. When the text outgrows the
 * context, its last floor(seqLen / 2) tokens (at least one) become a new context that starts at position 0, and the
 * text goes on: so it can be of any length, and a token has between half a context and a whole one before it.
 *
 * Generations on one engine may take turns: each gives its context anew where another one has used the cache.
 *
 * @param prompt ids, at least one
 * @param vocabSize ids below this are generated; a table may be padded beyond the tokenizer's
 * @throws UserError for options out of range, ids outside of the vocabulary, and a model whose logits are not finite
 */
export async function* generateTokens(
  engine: Engine,
  { seqLen, vocabSize: tableSize }: ModelSpec,
  prompt: ArrayLike<number>,
  options: TokenOptions = {},
  vocabSize: number = tableSize,
): AsyncGenerator<number> {
  const { maxTokens, seed, ...sampling } = resolveTokenOptions(options);
  requireTokens(prompt, vocabSize);
  const self = {};
  let context = Array.from(prompt).slice(-seqLen);
  let cached = 0; // tokens of the context whose keys and values the engine has
  for (let count = 0; count < maxTokens && !options.signal?.aborted; count++) {
    if (context.length > seqLen) {
      context = context.slice(-Math.max(1, Math.floor(seqLen / 2)));
      cached = 0;
    }
    if (lastUser.get(engine) !== self) cached = 0;
    lastUser.set(engine, self);
    const logits = await engine.next(Int32Array.from(context.slice(cached)), cached); // (V)
    cached = context.length;
    const u = uniform(seed, Stream.sample, 0, prompt.length + count);
    const token = choose(logits.subarray(0, vocabSize), sampling, u);
    yield token;
    context.push(token);
  }
}

/** Which generation's keys and values an engine's cache holds. */
const lastUser = new WeakMap<Engine, object>();

function choose(logits: Float32Array, sampling: Sampling, u: number): number {
  try {
    return sampleToken(logits, sampling, u);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UserError(
      `${error.message}, expected a number: the weights are of no use, take another checkpoint`,
    );
  }
}

/**
 * Generates the text after a prompt, in pieces of whole characters as they come. It ends at a stop string or the
 * tokenizer's end of text, which are left out, or after `maxTokens`. See `generateTokens` for texts longer than the
 * model's context.
 *
 * An empty prompt stands for the end of the text before: the tokenizer's end of text, or else a line end.
 *
 * @throws UserError as `generateTokens`, and for a prompt that the tokenizer can't encode
 *
 * @example
 * ```ts
 * for await (const piece of generateText(engine, spec, tokenizer, "Once", { maxTokens: 20 })) console.log(piece);
 * ```
 */
export async function* generateText(
  engine: Engine,
  spec: ModelSpec,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string> {
  const { stop = [] } = options;
  if (stop.includes("")) throw new UserError("A stop string is empty, expected some text to end before");
  const filter = stopFilter(stop);
  const decoder = tokenizer.decoder();
  const ids = promptTokens(tokenizer, prompt);
  for await (const token of generateTokens(engine, spec, ids, options, tokenizer.vocabSize)) {
    if (token === tokenizer.endOfText) break;
    const shown = filter.push(decoder.push(token));
    if (shown !== "") yield shown;
    if (filter.isStopped) return;
  }
  const rest = filter.push(decoder.end()) + filter.end();
  if (rest !== "") yield rest;
}

function promptTokens(tokenizer: Tokenizer, prompt: string): ArrayLike<number> {
  if (prompt !== "") return tokenizer.encode(prompt);
  if (tokenizer.endOfText !== null) return [tokenizer.endOfText];
  try {
    return tokenizer.encode("\n");
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      "The prompt is empty, and the tokenizer has no line end to start from: give a prompt",
    );
  }
}

/** @throws UserError if there is no token, or one outside of the vocabulary */
export function requireTokens(ids: ArrayLike<number>, vocabSize: number): void {
  if (ids.length === 0) throw new UserError("Found no tokens, expected at least one");
  for (let i = 0; i < ids.length; i++) {
    if (Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocabSize) continue;
    throw new UserError(`Token ${i} is ${ids[i]}, expected an id from 0 to ${vocabSize - 1}`);
  }
}
