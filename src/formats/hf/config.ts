/** What the config.json files of several architectures have in common. */
import { z } from "zod";
import { UserError } from "../../errors.ts";
import { checked } from "../checked.ts";
import { quote } from "../file.ts";

export const positiveInt = z.int().positive();
export const positive = z.number().positive();
export const probability = z.number().min(0).lt(1);

/**
 * The content of a config.json, with every key under its usual name.
 *
 * @param aliases names that some versions give to keys, and the usual ones
 * @throws UserError for a key that is missing or has a value that is not supported, or two names that disagree
 */
export function readKeys<T>(
  schema: z.ZodType<T>,
  json: unknown,
  aliases: Readonly<Record<string, string>> = {},
): T {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    return checked(schema, json, "config.json");
  }
  const keys = new Map<string, unknown>(Object.entries(json));
  for (const [alias, name] of Object.entries(aliases)) {
    const value = keys.get(alias);
    if (value === undefined) continue;
    const usual = keys.get(name) ?? value;
    if (usual !== value) {
      throw new UserError(
        `config.json: ${alias} is ${quote(value)} and ${name} is ${
          quote(usual)
        }, expected the same; remove one`,
      );
    }
    keys.set(name, value);
  }
  return checked(schema, Object.fromEntries(keys), "config.json");
}

/** The size of a head. @throws UserError if heads don't divide the width; the arguments name the keys */
export function headSize(width: number, heads: number, widthKey: string, headsKey: string): number {
  if (width % heads === 0) return width / heads;
  throw new UserError(`config.json: ${widthKey} ${width} is no multiple of ${headsKey} ${heads}`);
}

/** Nothing, or what is written for it: `{ "rope_type": "default" }`. */
function isUnscaled(scaling: unknown): boolean {
  if (scaling === null || scaling === undefined) return true;
  const keys = Object.entries(scaling);
  return keys.length > 0 &&
    keys.every(([key, value]) => ["rope_type", "type"].includes(key) && value === "default");
}

/**
 * Rotary positions in the spelling of version 5; scaled rotations, in any spelling, are not what our models have.
 *
 * @param fraction the shares of a head that may be rotated
 */
export const ropeKeys = (fraction: z.ZodType<number>) => ({
  rope_parameters: z.object({
    rope_type: z.literal("default").optional(),
    type: z.literal("default").optional(),
    rope_theta: positive.optional(),
    partial_rotary_factor: fraction.optional(),
  }).nullish(),
  rope_scaling: z.unknown().refine(isUnscaled, "expected null").optional(),
});
