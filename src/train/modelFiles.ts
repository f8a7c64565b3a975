/** The files of a model folder: a checkpoint's, or a model's of Hugging Face. */
import { join } from "@std/path";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { readAhead } from "../engine/readAhead.ts";
import { UserError } from "../errors.ts";
import { messageOf, quote } from "../formats/file.ts";
import { type NamedValues, readWeights } from "../formats/hf/read.ts";
import type { SpecialTokens } from "../formats/hf/specialTokens.ts";
import { formatHfConfig, tensorsToWrite } from "../formats/hf/write.ts";
import {
  encodeSafetensors,
  openModelFolder,
  parseSafetensors,
  type TensorSource,
  type TensorToWrite,
} from "../formats/safetensors.ts";
import { sortedByName } from "./digest.ts";
import { formatFor, formatOf, readModelConfig } from "./modelFormat.ts";

/** Of safetensors files; transformers asks for it. */
export const METADATA = { format: "pt" };

/** A model folder's files in memory, as a checkpoint has them. */
export interface ModelFiles {
  readonly "config.json": string;
  readonly "model.safetensors": Uint8Array;
  /** Without it the model knows token ids alone. */
  readonly "tokenizer.json"?: string;
}

/** A model folder, on disk or in memory. */
export type ModelSource = string | ModelFiles;

/** What messages call a model. */
export function sourceName(source: ModelSource): string {
  return typeof source === "string" ? source : "model.safetensors in memory";
}

/** What messages call a file of a model, and where it lies on disk. */
export function modelPath(source: ModelSource, file: keyof ModelFiles): string {
  return typeof source === "string" ? join(source, file) : file;
}

/** A checkpoint's model in memory: reads all weights of the engine. */
export async function modelInMemory(
  engine: Engine,
  spec: ModelSpec,
  { tokenizer, specialTokens }: Pick<Dataset, "tokenizer" | "specialTokens">,
): Promise<Required<ModelFiles>> {
  return {
    "config.json": formatModelConfig(spec, specialTokens),
    "model.safetensors": await encodeSafetensors(sortedByName(modelTensors(engine, spec)), METADATA),
    "tokenizer.json": JSON.stringify(tokenizer.toJSON()),
  };
}

/** A checkpoint's model, read into memory. @throws UserError if a file can't be read */
export async function readModelFiles(folder: string): Promise<Required<ModelFiles>> {
  const fail = (error: unknown) => {
    throw new UserError(`Cannot read the model in ${quote(folder)}: ${messageOf(error)}`);
  };
  const [config, weights, tokenizer] = await Promise.all([
    Deno.readTextFile(join(folder, "config.json")),
    Deno.readFile(join(folder, "model.safetensors")),
    Deno.readTextFile(join(folder, "tokenizer.json")),
  ]).catch(fail);
  return { "config.json": config, "model.safetensors": weights, "tokenizer.json": tokenizer };
}

/** The text of a checkpoint's config.json. */
export function formatModelConfig(spec: ModelSpec, tokens: SpecialTokens): string {
  return formatHfConfig(formatFor(spec), spec, tokens, "F32");
}

/** The weights of an engine, as model.safetensors holds them; each is read when its turn comes. */
export function modelTensors(engine: Engine, spec: ModelSpec): TensorToWrite[] {
  return tensorsToWrite(formatFor(spec).tensors(spec), (name) => engine.read("weights", name));
}

/** What the optimizer remembers, as optimizer.safetensors holds it: the engine's names and layout. */
export function optimizerTensors(engine: Engine): TensorToWrite[] {
  const tensors = sortedByName(engine.report.optimizerState); // as they are stored
  const readers = readAhead(engine, tensors.map(({ name }) => ({ kind: "optimizer", name })));
  return tensors.map(({ name, shape }, i) => ({ name, shape, dtype: "F32" as const, values: readers[i] }));
}

/** The content of a model folder's config.json. @throws UserError if there is none, or it is no JSON */
export function readConfigJson(source: ModelSource): unknown {
  const path = modelPath(source, "config.json");
  const text = typeof source === "string" ? readConfigText(path) : source["config.json"];
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${quote(path)} is not JSON: ${messageOf(error)}; get the file again`);
  }
}

function readConfigText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new UserError(
      `Cannot read ${quote(path)}: ${messageOf(error)}; name a run, a checkpoint or a folder with a model`,
    );
  }
}

/** The weights of a model folder, as they lie there. @throws UserError if a file is missing or damaged */
export function openModelWeights(source: ModelSource): TensorSource {
  return typeof source === "string"
    ? openModelFolder(source)
    : parseSafetensors(source["model.safetensors"], sourceName(source));
}

/**
 * The architecture of a model folder: a checkpoint, or a model of Hugging Face.
 *
 * @throws UserError if there is no config.json, or none that is understood
 */
export function readModelSpec(source: ModelSource): ModelSpec {
  return readModelConfig(readConfigJson(source), (tensor) => {
    using weights = openModelWeights(source);
    return weights.tensors.has(tensor);
  });
}

/**
 * The weights of a model folder in our names and layout, one at a time.
 *
 * @throws UserError if a file is missing or damaged, or a tensor is not what config.json asks for
 */
export function* readModelWeights(source: ModelSource): Generator<NamedValues> {
  const json = readConfigJson(source);
  using weights = openModelWeights(source);
  const spec = readModelConfig(json, (tensor) => weights.tensors.has(tensor));
  yield* readWeights(weights, formatOf(json), spec);
}
