import type { Amount } from "./amount.ts";
import { isSettings } from "./layers.ts";
import type { RunConfig } from "./schema.ts";

/** A resolved config as JSON that `resolveConfig` reads back to the same. */
export function formatConfig(config: RunConfig): string {
  return JSON.stringify(config, (_key, value) => isAmount(value) ? formatAmount(value) : value, 2) + "\n";
}

/** `300 steps`, as `parseAmount` reads it. */
export function formatAmount({ value, unit }: Amount): string {
  return `${value} ${unit}`;
}

/** The keys in which two configs differ, each with both values: `model.numLayers: 4 -> 6`. */
export function differences(before: RunConfig, after: RunConfig): string[] {
  return differencesAt("", before, after);
}

function differencesAt(path: string, before: unknown, after: unknown): string[] {
  if (isGroup(before) && isGroup(after)) {
    const prefix = path === "" ? "" : path + ".";
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => differencesAt(prefix + key, before[key], after[key]));
  }
  const [old, now] = [before, after].map((value) =>
    isAmount(value) ? formatAmount(value) : JSON.stringify(value)
  );
  return old === now ? [] : [`${path}: ${old} -> ${now}`];
}

/** All settings by their dotted keys, in the order of the config: `["train.duration", "300 steps"]`. */
export function listSettings(config: RunConfig): [key: string, value: string][] {
  return settingsAt("", config);
}

function settingsAt(path: string, value: unknown): [string, string][] {
  if (!isGroup(value)) return [[path, isAmount(value) ? formatAmount(value) : JSON.stringify(value)]];
  const prefix = path === "" ? "" : `${path}.`;
  return Object.entries(value).flatMap(([key, part]) => settingsAt(prefix + key, part));
}

function isGroup(value: unknown): value is { readonly [key: string]: unknown } {
  return isSettings(value) && !isAmount(value);
}

function isAmount(value: unknown): value is Amount {
  return isSettings(value) && "value" in value && "unit" in value;
}
