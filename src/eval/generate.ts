import { z } from "zod";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { Stream, uniform } from "../random.ts";
import type { PromptFormat, Question } from "./promptFormat.ts";
import { sampleToken, type Sampling } from "./sample.ts";
import { stopFilter } from "./stop.ts";

/** How tokens are chosen, and how many. See `Sampling`. */
export interface TokenOptions extends Partial<Sampling> {
  /** The most tokens that are generated, 256 by default; a sentinel that closes a span is one, too. */
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
 * Generates token ids after those of a prompt, with a cache of keys and values. It ends at an id that ends the text, which
 * is left out, or after `maxTokens`.
 *
 * A model looks at no more than its context, the engine's columns. Of a longer prompt the last tokens that fit count. When
 * the text outgrows the context, its last half (at least one token) becomes a new prompt that starts at position 0, and the
 * text goes on: so it can be of any length. A non-causal decoder sees that half as its prefix, both ways; an encoder
 * reads as much of the text as fits it, and the decoder starts again.
 *
 * A model of masked spans is asked for what follows the text, span by span: when it closes one, the text with that span is
 * the next prompt. It ends where it has nothing to add.
 *
 * Generations on one engine may take turns: each gives its context anew where another one has used the cache.
 *
 * @param prompt ids, at least one
 * @throws UserError for options out of range, ids outside of the vocabulary, and a model whose logits are not finite
 */
export async function* generateTokens(
  engine: Engine,
  format: PromptFormat,
  prompt: ArrayLike<number>,
  options: TokenOptions = {},
): AsyncGenerator<number> {
  const { maxTokens, seed, ...sampling } = resolveTokenOptions(options);
  requireTokens(prompt, format.vocabSize);
  const { columns } = engine.report;
  const self = {};
  const text = Array.from(prompt).slice(-format.room);
  let question = format.ask(text);
  let written: number[] = []; // since the question
  let cached = 0; // tokens of the context whose keys and values the engine has
  const askAnew = () => {
    if (text.length > format.room) text.splice(0, text.length - format.keep);
    question = format.ask(text);
    written = [];
    cached = 0;
  };
  for (let count = 0; count < maxTokens && !options.signal?.aborted; count++) {
    if (question.tokens.length + written.length > columns) askAnew();
    if (lastUser.get(engine) !== self) cached = 0;
    lastUser.set(engine, self);
    const logits = await read(engine, question, written, cached); // (V)
    cached = question.tokens.length + written.length;
    const u = uniform(seed, Stream.sample, 0, prompt.length + count);
    const token = choose(logits.subarray(0, format.vocabSize), sampling, u);
    if (format.ends.includes(token)) return;
    if (format.isText(token)) {
      yield token;
      text.push(token);
      written.push(token);
    } else if (written.length > 0) {
      askAnew();
    } else {
      return;
    }
  }
}

/**
 * Logits (V) of what follows a question and what was written after it, of which the engine has the first `cached` tokens.
 * It is all asked of the engine at once, so that another generation can't come between.
 */
async function read(
  engine: Engine,
  { source, tokens, prefix }: Question,
  written: readonly number[],
  cached: number,
): Promise<Float32Array> {
  const context = Int32Array.from([...tokens, ...written]);
  const calls: Promise<unknown>[] = [];
  let start = cached;
  if (cached === 0 && source !== null) calls.push(engine.encode(Int32Array.from(source)));
  if (cached === 0 && prefix > 0 && prefix < context.length) {
    calls.push(engine.next(context.subarray(0, prefix), 0)); // tokens at 0 see one another, later ones don't
    start = prefix;
  }
  const [logits] = await Promise.all([engine.next(context.subarray(start), start), ...calls]);
  return logits;
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
 * Generates the text after a prompt, in pieces of whole characters as they come. It ends at a stop string or an end
 * of text, which are left out, or after `maxTokens`. See `generateTokens` for what different models are asked, and for
 * texts longer than their context.
 *
 * An empty prompt stands for the end of the text before: the tokenizer's end of text, or else a line end.
 *
 * @throws UserError as `generateTokens`, and for a prompt that the tokenizer can't encode
 *
 * @example
 * ```ts
 * for await (const piece of generateText(engine, format, tokenizer, "Once", { maxTokens: 20 })) console.log(piece);
 * ```
 */
export async function* generateText(
  engine: Engine,
  format: PromptFormat,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string> {
  const { stop = [] } = options;
  if (stop.includes("")) throw new UserError("A stop string is empty, expected some text to end before");
  const filter = stopFilter(stop);
  const ids = promptTokens(tokenizer, format, prompt);
  // What a decoder writes goes on with the prompt; what comes behind an encoder is a text of its own.
  const isNewText = format.ask([ids[0]]).source !== null;
  const decoder = tokenizer.decoder({ continues: prompt !== "" && !isNewText });
  for await (const token of generateTokens(engine, format, ids, options)) {
    const shown = filter.push(decoder.push(token));
    if (shown !== "") yield shown;
    if (filter.isStopped) return;
  }
  const rest = filter.push(decoder.end()) + filter.end();
  if (rest !== "") yield rest;
}

function promptTokens(tokenizer: Tokenizer, { frame }: PromptFormat, prompt: string): ArrayLike<number> {
  const { before, after } = frame;
  if (prompt !== "" || before.length > 0) return [...before, ...tokenizer.encode(prompt), ...after];
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
