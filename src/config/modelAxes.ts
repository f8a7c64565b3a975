import { z } from "zod";
import { PLAIN_GPT } from "./deriveModel.ts";
import { type ModelConfig, modelSchema } from "./schema.ts";

/** The settings of a model that have a few values: kinds, on or off. */
export type ModelAxes = {
  readonly [Key in keyof ModelConfig as ModelConfig[Key] extends string | boolean ? Key : never]:
    readonly ModelConfig[Key][];
};

/** All of them with all their values, of which a plain GPT's comes first: from the schema, so that none is left out. */
export const MODEL_AXES = Object.fromEntries<unknown>(
  Object.entries(modelSchema.shape).flatMap(([key, schema]) => {
    const options = schema instanceof z.ZodEnum
      ? schema.options
      : schema instanceof z.ZodBoolean
      ? [false, true]
      : [];
    const plain = PLAIN_GPT[key as keyof typeof PLAIN_GPT];
    return options.length === 0 ? [] : [[key, [plain, ...options.filter((value) => value !== plain)]]];
  }),
) as ModelAxes;
