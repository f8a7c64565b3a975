import type { z } from "zod";
import { deriveModel, type ModelSpec } from "../config/deriveModel.ts";
import type { ModelConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { quote } from "./file.ts";

/**
 * `json` as `schema` reads it. `what` names the file in error messages.
 * @throws UserError for the first fault: the key, the value found, what was expected.
 */
export function checked<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue.code === "unrecognized_keys") {
    const keys = issue.keys.map((key) => quote(key)).join(", ");
    throw new UserError(`${what} asks for ${keys}, but no such option exists in this version`);
  }
  const key = issue.path.join(".");
  const value = issue.path.reduce<unknown>((at, step) => Object(at)[step], json);
  const found = value === undefined ? "is missing" : `is ${quote(value)}`;
  const expected = issue.message.replace(/^[^:]*: /, "").replace(/, received .*$/, ""); // "Too small: expected ..."
  throw new UserError(`${[what, key].filter(Boolean).join(": ")} ${found}, ${expected}`);
}

/**
 * `deriveModel` of a model that a config.json describes.
 *
 * @param keys what settings of ours are called there, where that is not the same
 * @throws UserError for sizes or options that don't fit together, in the file's words
 */
export function derived(
  model: ModelConfig,
  vocabSize: number,
  keys: Readonly<Record<string, string | undefined>> = {},
): ModelSpec {
  try {
    return deriveModel(model, vocabSize);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const message = error.message.replaceAll(/\bmodel\.(\w+)/g, (_, key) => keys[key] ?? key);
    throw new UserError(`config.json: ${message}`);
  }
}
