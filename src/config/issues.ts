import type { z } from "zod";
import { describe, nearestKey, schemaAt } from "./keys.ts";
import { isSettings, type Layer, type Settings } from "./layers.ts";

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
      const near = nearestKey(dotted);
      const hint = near === null ? "presets/default.jsonc has every key" : `the nearest known one is ${near}`;
      return `${where}: unknown key ${dotted}, ${hint}`;
    });
  }
  const dotted = path.join(".");
  const found = valueAt(settings, path);
  const finding = found === undefined ? `${dotted} is missing` : `${dotted} is ${JSON.stringify(found)}`;
  return [`${whereSet(path, layers)}: ${finding}, ${expectation(issue, path)}`];
}

/** Messages that the schema words itself say more than a key's type does. */
function expectation(issue: Issue, path: readonly string[]): string {
  const isWorded = issue.code === "custom" || issue.code === "invalid_format";
  if (isWorded && issue.message.startsWith("expected ")) return issue.message.replace(/, found .*$/s, "");
  return `expected ${describe(schemaAt(path) ?? {})}`;
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
