/**
 * The names and the layout of weights in a model folder: Hugging Face's GPT-2 where the architecture is one, so that
 * transformers loads a checkpoint as it is; our own names and a config.json of our own elsewhere.
 */
import { join } from "@std/path";
import { z } from "zod";
import type { ModelSpec } from "../config/derive.ts";
import { modelSchema } from "../config/schema.ts";
import type { Tokenizer } from "../data/tokenizers/tokenizer.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { checked } from "../formats/checked.ts";
import { messageOf, quote } from "../formats/file.ts";
import {
  type Gpt2Architecture,
  gpt2Tensors,
  readGpt2Config,
  readGpt2Weights,
  transpose,
  writeGpt2Config,
} from "../formats/hf/gpt2.ts";
import {
  encodeSafetensors,
  openModelFolder,
  parseSafetensors,
  type TensorToWrite,
} from "../formats/safetensors.ts";
import { sortedByName } from "./digest.ts";

const MODEL_TYPE = "bloomery";

/** Of safetensors files; transformers asks for it. */
export const METADATA = { format: "pt" };

const specSchema = modelSchema.extend({
  model_type: z.literal(MODEL_TYPE),
  numKvHeads: z.int().positive(),
  ffnDim: z.int().positive(),
  vocabSize: z.int().positive(),
  headDim: z.int().positive(),
});

/** A parameter in our names and layout. */
export interface NamedValues {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array;
}

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
export async function exportModel(
  engine: Engine,
  spec: ModelSpec,
  tokenizer: Tokenizer,
): Promise<Required<ModelFiles>> {
  return {
    "config.json": formatModelConfig(spec, tokenizer.endOfText),
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

/** The text of a model folder's config.json. */
export function formatModelConfig(spec: ModelSpec, endOfText: number | null): string {
  const gpt2 = asGpt2(spec);
  const config = gpt2 === null ? { model_type: MODEL_TYPE, ...spec } : writeGpt2Config(gpt2, endOfText);
  return JSON.stringify(config, null, 2);
}

/** The weights of an engine, as model.safetensors holds them; each is read when its turn comes. */
export function modelTensors(engine: Engine, spec: ModelSpec): TensorToWrite[] {
  const gpt2 = asGpt2(spec);
  if (gpt2 === null) {
    return engine.report.parameters.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32",
      values: () => engine.read("weights", name),
    }));
  }
  return gpt2Tensors(gpt2).map(({ name, hfName, shape, transpose: turned }) => ({
    name: hfName,
    shape: turned ? shape.toReversed() : shape,
    dtype: "F32",
    async values() {
      const values = await engine.read("weights", name);
      return turned ? transpose(values, shape[0], shape[1]) : values;
    },
  }));
}

/** AdamW's moments, as optimizer.safetensors holds them: `<name>.moment1` and `<name>.moment2` in our layout. */
export function optimizerTensors(engine: Engine): TensorToWrite[] {
  return (["moment1", "moment2"] as const).flatMap((moment) =>
    engine.report.parameters.map(({ name, shape }) => ({
      name: `${name}.${moment}`,
      shape,
      dtype: "F32" as const,
      values: () => engine.read(moment, name),
    }))
  );
}

/**
 * The architecture of a model folder: a checkpoint, or a GPT-2 of Hugging Face.
 *
 * @throws UserError if there is no config.json, or none that is understood
 */
export function readModelSpec(source: ModelSource): ModelSpec {
  const json = readConfig(source);
  if (!isOurs(json)) return fromGpt2(readGpt2Config(json));
  const { model_type: _, ...spec } = checked(specSchema, json, modelPath(source, "config.json"));
  return spec;
}

/**
 * The weights of a model folder in our names and layout, one at a time.
 *
 * @throws UserError if a file is missing or damaged, or a tensor is not what config.json asks for
 */
export function* readModelWeights(source: ModelSource): Generator<NamedValues> {
  const json = readConfig(source);
  using stored = typeof source === "string"
    ? openModelFolder(source)
    : parseSafetensors(source["model.safetensors"], sourceName(source));
  if (!isOurs(json)) return yield* readGpt2Weights(stored, readGpt2Config(json));
  for (const [name, { shape }] of stored.tensors) yield { name, shape, values: stored.read(name) };
}

/** The architecture as a GPT-2, or null if it is none. */
function asGpt2(spec: ModelSpec): Gpt2Architecture | null {
  const { activation } = spec;
  const gated = activation === "swiglu" || activation === "geglu" || activation === "reglu";
  if (gated || spec.positions !== "learned" || spec.norm !== "layernorm" || !spec.bias) return null;
  if (spec.numKvHeads !== spec.numHeads) return null;
  const { numLayers, modelDim, numHeads, ffnDim, seqLen, vocabSize, normEps, tied, initStd } = spec;
  const dropout = { embedding: spec.dropout, attention: spec.attentionDropout, residual: spec.dropout };
  return {
    numLayers,
    modelDim,
    numHeads,
    ffnDim,
    seqLen,
    vocabSize,
    activation,
    normEps,
    tied,
    dropout,
    initStd,
  };
}

function fromGpt2({ dropout, ...gpt2 }: Gpt2Architecture): ModelSpec {
  return {
    ...gpt2,
    numKvHeads: gpt2.numHeads,
    headDim: gpt2.modelDim / gpt2.numHeads,
    positions: "learned",
    norm: "layernorm",
    bias: true,
    dropout: dropout.residual,
    attentionDropout: dropout.attention,
    zLoss: 0,
    scaledResidualInit: true,
  };
}

function readConfig(source: ModelSource): unknown {
  const path = modelPath(source, "config.json");
  try {
    return JSON.parse(typeof source === "string" ? Deno.readTextFileSync(path) : source["config.json"]);
  } catch (error) {
    throw new UserError(
      `Cannot read ${quote(path)}: ${messageOf(error)}; name a run, a checkpoint or a folder with a GPT-2`,
    );
  }
}

function isOurs(json: unknown): boolean {
  return typeof json === "object" && json !== null && "model_type" in json && json.model_type === MODEL_TYPE;
}
