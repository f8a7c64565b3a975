import type { z } from "zod";
import type { Settings } from "../config/layers.ts";
import { type ConfigSource, resolveConfig } from "../config/load.ts";
import type { RunConfig, runSchema } from "../config/schema.ts";
import { modelSettings, readSourceModel, settleModel } from "../train/fromModel.ts";

/** Any part of the keys that a config file has, with the types that a file has: amounts are `"300 steps"`. */
type ConfigPart = DeepPartial<Omit<z.input<typeof runSchema>, "data">>;
type DeepPartial<T> = T extends object ? { readonly [K in keyof T]?: DeepPartial<T[K]> } : T;

/**
 * What a run is, as a program says it. What is left out is taken from the preset.
 *
 * @example
 * ```ts
 * const settings: RunSettings = {
 *   data: { text: "to be or not to be, that is the question" },
 *   tokenizer: "chars",
 *   model: { numLayers: 2, modelDim: 64, seqLen: 16 },
 *   train: { duration: "100 steps" },
 * };
 * ```
 */
export interface RunSettings extends ConfigPart {
  /** What the settings are laid over; `default` if none is named. */
  readonly preset?: string;
  /** `key=value` with dotted keys, as on the command line; they come last. */
  readonly overrides?: readonly string[];
  /** A text file, a folder of text files, or the text itself. null: the TypeScript declarations that Deno carries. */
  readonly data?: string | { readonly text: string } | null;
}

/**
 * The config of a run. Weights that it starts from bring their model along, beneath what the source itself says.
 *
 * @param folderOf where the run of a name is kept; null: nowhere
 * @throws UserError as `resolveConfig`, and for weights that can't be read, or don't go on as the source asks
 */
export async function resolveRun(
  source: ConfigSource,
  folderOf: (name: string) => string | null,
): Promise<RunConfig> {
  const config = resolveConfig(source);
  if (config.from === null) return config;
  const model = await readSourceModel(config.from, folderOf(config.name));
  return settleModel(resolveConfig({ ...source, weights: modelSettings(model) }), model);
}

/**
 * A config, and the text in place of its `data` where the settings hold one.
 *
 * @param folder where the run is kept; null, which is the default: nowhere
 * @throws UserError as `resolveRun`
 */
export async function resolveSettings(
  settings: RunSettings,
  folder: string | null = null,
): Promise<{ config: RunConfig; text: string | undefined }> {
  const { overrides, data, ...rest } = settings;
  const inMemory = typeof data === "object" && data !== null;
  const given: Settings = { ...rest, data: inMemory ? undefined : data };
  const config = await resolveRun({ settings: given, overrides }, () => folder);
  return { config, text: inMemory ? data.text : undefined };
}
