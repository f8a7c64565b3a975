import type { Evaluation } from "../eval/evaluate.ts";
import type { GenerateOptions } from "../eval/generate.ts";
import { type EvaluateOptions, loadModel, type LoadOptions, type Model } from "../eval/model.ts";
import type { ModelSource } from "../train/modelFiles.ts";

/** A model that is loaded, or what `loadModel` takes: it is then loaded for this call alone. */
export type ModelOrSource = Model | ModelSource;

/**
 * Writes on from a prompt, in pieces as they come. See `Model.generate`.
 *
 * @param options how to load the model counts only where that is done here
 * @throws UserError as `loadModel` and `generateText`
 *
 * @example
 * ```ts
 * for await (const piece of generate("runs/default", "interface ", { maxTokens: 100 })) console.log(piece);
 * ```
 */
export async function* generate(
  model: ModelOrSource,
  prompt: string,
  options: GenerateOptions & LoadOptions = {},
): AsyncGenerator<string> {
  if (isLoaded(model)) return yield* model.generate(prompt, options);
  await using loaded = await loadModel(model, options);
  yield* loaded.generate(prompt, options);
}

/**
 * Scores a model: on a text, on tokens, or on the held-out part of its run's data. See `Model.evaluate`.
 *
 * @param options how to load the model counts only where that is done here
 * @throws UserError as `loadModel`, and if there is nothing to predict
 *
 * @example
 * ```ts
 * const { loss, bitsPerByte } = await evaluate("runs/default", { text: "interface Array<T> {}" });
 * ```
 */
export async function evaluate(
  model: ModelOrSource,
  options: EvaluateOptions & LoadOptions = {},
): Promise<Evaluation> {
  if (isLoaded(model)) return await model.evaluate(options);
  await using loaded = await loadModel(model, options);
  return await loaded.evaluate(options);
}

function isLoaded(model: ModelOrSource): model is Model {
  return typeof model !== "string" && "generate" in model;
}
