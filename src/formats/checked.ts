import type { z } from "zod";
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
    throw new UserError(
      `${what} has the unknown key ${quote(issue.keys[0])}; remove it or correct its spelling`,
    );
  }
  const key = issue.path.join(".");
  const value = issue.path.reduce<unknown>((at, step) => Object(at)[step], json);
  const found = value === undefined ? "is missing" : `is ${quote(value)}`;
  const expected = issue.message.replace(/^[^:]*: /, "").replace(/, received .*$/, ""); // "Too small: expected ..."
  throw new UserError(`${[what, key].filter(Boolean).join(": ")} ${found}, ${expected}`);
}
