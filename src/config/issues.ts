import type { z } from "zod";
import { describe, keysAt, nearestKey, schemaAt, wordsOf } from "./keys.ts";
import { isSettings, type Layer, type Settings } from "./layers.ts";
import { nearest } from "./nearest.ts";

type Issue = z.core.$ZodIssue;

/** One line for what the schema has found wrong: where, what was found, what was expected, and how many more there are. */
export function explainIssues(
  issues: readonly Issue[],
  settings: Settings,
  layers: readonly Layer[],
): string {
  const lines = issues.flatMap((issue) => explain(issue, settings, layers));
  return lines[0] + (lines.length > 1 ? `, and ${lines.length - 1} more` : "");
}

function explain(issue: Issue, settings: Settings, layers: readonly Layer[]): string[] {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const where = whereSet([...path, key], layers);
      const dotted = [...path, key].join(".");
      return `${where}: unknown key ${dotted}, ${hintKey(dotted, path)}`;
    });
  }
  const dotted = path.join(".");
  const found = valueAt(settings, path);
  const finding = found === undefined ? `${dotted} is missing` : `${dotted} is ${JSON.stringify(found)}`;
  return [`${whereSet(path, layers)}: ${finding}, ${expectation(issue, path, found)}`];
}

/** @param path of the group that a key was looked for in */
function hintKey(key: string, path: readonly string[]): string {
  const near = nearestKey(key);
  if (near !== null) return `the nearest known one is ${near}`;
  return path.length === 0
    ? "presets/default.jsonc has every key"
    : `${path.join(".")} has ${keysAt(path).join(", ")}`;
}

/** Messages that the schema words itself say more than a key's type does. */
function expectation(issue: Issue, path: readonly string[], found: unknown): string {
  const isWorded = issue.code === "custom" || issue.code === "invalid_format";
  if (isWorded && issue.message.startsWith("expected ")) return issue.message.replace(/, found .*$/s, "");
  const schema = schemaAt(path) ?? {};
  const near = typeof found === "string" ? nearest(found, wordsOf(schema)) : null;
  return `expected ${describe(schema)}${near === null ? "" : `; the nearest is ${JSON.stringify(near)}`}`;
}

/** The last layer that sets a path or, where none does, the most of it. */
function whereSet(path: readonly string[], layers: readonly Layer[]): string {
  for (let length = path.length; length > 0; length--) {
    const layer = layers.findLast(({ settings }) => valueAt(settings, path.slice(0, length)) !== undefined);
    if (layer !== undefined) return layer.where;
  }
  return layers[0].where;
}

function valueAt(settings: Settings, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => {
    return isSettings(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }, settings);
}
