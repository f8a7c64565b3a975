/**
 * How a model is written down: as Hugging Face does where an architecture there expresses it, so that transformers
 * loads a checkpoint as it is; in our own names and with a config.json of our own elsewhere.
 */
import { z } from "zod";
import type { ModelSpec } from "../config/deriveModel.ts";
import { modelSchema } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { checked, derived } from "../formats/checked.ts";
import { quote } from "../formats/file.ts";
import { HF_FAMILIES } from "../formats/hf/families.ts";
import type { HfFamily } from "../formats/hf/family.ts";
import { same } from "../formats/hf/tensors.ts";
import { modelParameters } from "../model/parameters.ts";

const MODEL_TYPE = "bloomery";

const specSchema = z.object({
  ...modelSchema.shape,
  logitSoftCap: modelSchema.shape.logitSoftCap.default(null), // files of 0.1.0 have none
  model_type: z.literal(MODEL_TYPE),
  numKvHeads: z.int().positive(),
  ffnDim: z.int().positive(),
  vocabSize: z.int().positive(),
  headDim: z.int().positive(),
  numEncoderLayers: z.int().min(0),
  initStd: z.number().positive(),
});

/** Our own names and layout, for every model. */
export const ownFormat: HfFamily = {
  modelType: MODEL_TYPE,
  className: "BloomeryModel",
  prefix: "",
  aliases: {},
  ignored: /^$/,
  copies: [],
  keys: {},
  readConfig(json) {
    const { model_type: _, ...spec } = checked(specSchema, json, "config.json");
    return spec;
  },
  writeConfig: (spec) => ({ ...spec }),
  obstacles: () => [],
  tensors: (spec) => modelParameters(spec).map(({ name, shape }) => same(name, name, ...shape)),
};

/** How a model of ours is written down. */
export function formatFor(spec: ModelSpec): HfFamily {
  return HF_FAMILIES.find((family) => family.obstacles(spec).length === 0) ?? ownFormat;
}

/** How the model of a config.json is written down. @throws UserError if that is not known */
export function formatOf(json: unknown): HfFamily {
  const families = [...HF_FAMILIES, ownFormat];
  const names = families.map(({ modelType }) => modelType) as [string, ...string[]];
  const { model_type } = checked(z.object({ model_type: z.enum(names) }), json, "config.json");
  const family = families.find(({ modelType }) => modelType === model_type);
  if (family === undefined) throw new Error(`no format ${model_type}`);
  return family;
}

/**
 * Reads the architecture from a config.json.
 *
 * @param has does the model's file have this tensor?
 * @throws UserError for an architecture that is not known, or sizes that don't fit together
 */
export function readModelConfig(json: unknown, has: (tensor: string) => boolean): ModelSpec {
  const { readConfig, keys } = formatOf(json);
  const spec = readConfig(json, has);
  derived(settingsOf(spec), spec.vocabSize, keys);
  return spec;
}

/** A model as the section `model` of a config says it. */
export function settingsOf(spec: ModelSpec): z.input<typeof modelSchema> {
  return { ...spec, numEncoderLayers: spec.numEncoderLayers > 0 ? spec.numEncoderLayers : null };
}

/**
 * The architecture of Hugging Face that expresses a model.
 *
 * @throws UserError if there is none: what the nearest one lacks
 */
export function requireHfFamily(spec: ModelSpec): HfFamily {
  const [nearest] = HF_FAMILIES
    .map((family) => ({ family, obstacles: family.obstacles(spec) }))
    .sort((a, b) => a.obstacles.length - b.obstacles.length);
  if (nearest.obstacles.length === 0) return nearest.family;
  throw new UserError(
    `No architecture of Hugging Face that we write expresses this model: the nearest, ` +
      `${quote(nearest.family.modelType)}, has no ${nearest.obstacles.join(", ")}`,
  );
}
