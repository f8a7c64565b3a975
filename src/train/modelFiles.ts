/**
 * The names and the layout of weights in a model folder: Hugging Face's GPT-2 where the architecture is one, so that
 * transformers loads a checkpoint as it is; our own names and a config.json of our own elsewhere.
 */
import { join } from "@std/path";
import { z } from "zod";
import type { ModelSpec } from "../config/derive.ts";
import { modelSchema } from "../config/schema.ts";
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
import { openModelFolder, type TensorToWrite } from "../formats/safetensors.ts";
import type { Engine } from "../engine/engine.ts";

const MODEL_TYPE = "bloomery";

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
export function readModelSpec(folder: string): ModelSpec {
  const json = readConfig(folder);
  if (!isOurs(json)) return fromGpt2(readGpt2Config(json));
  const { model_type: _, ...spec } = checked(specSchema, json, join(folder, "config.json"));
  return spec;
}

/**
 * The weights of a model folder in our names and layout, one at a time.
 *
 * @throws UserError if a file is missing or damaged, or a tensor is not what config.json asks for
 */
export function* readModelWeights(folder: string): Generator<NamedValues> {
  const json = readConfig(folder);
  using source = openModelFolder(folder);
  if (!isOurs(json)) return yield* readGpt2Weights(source, readGpt2Config(json));
  for (const [name, { shape }] of source.tensors) yield { name, shape, values: source.read(name) };
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

function readConfig(folder: string): unknown {
  const path = join(folder, "config.json");
  try {
    return JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    throw new UserError(
      `Cannot read ${quote(path)}: ${messageOf(error)}; name a run, a checkpoint or a folder with a GPT-2`,
    );
  }
}

function isOurs(json: unknown): boolean {
  return typeof json === "object" && json !== null && "model_type" in json && json.model_type === MODEL_TYPE;
}
