import { basename, extname } from "@std/path";
import { UserError } from "../errors.ts";
import { explainIssues } from "./issues.ts";
import { type Layer, merge, parseJsonc, parseOverride, type Settings } from "./layers.ts";
import { hintNearest } from "./nearest.ts";
import { PRESETS, type Presets } from "./presets.ts";
import { type RunConfig, runSchema } from "./schema.ts";

/** Where a run's settings come from; each source is laid over the one before it. */
export interface ConfigSource {
  /** What it is laid over; `preset=...` among the overrides comes before it, a file's `"preset"` after it. */
  readonly preset?: string;
  /** What the weights of `from` bring: over the presets, under everything else. */
  readonly weights?: Settings;
  /** JSONC. The path is for messages, and for the run's name where the file gives none. */
  readonly file?: { readonly path: string; readonly text: string };
  /** What a program gives in place of a file; a setting that is `undefined` is not given. */
  readonly settings?: Settings;
  /** `key=value` with dotted keys: `model.numLayers=6`. The value `null` clears. */
  readonly overrides?: readonly string[];
}

/**
 * The settings of a run: a preset over those that it starts from, a file, overrides, and what the schema makes of them.
 *
 * Throws UserError on syntax, unknown keys, wrong types and values: one line that says where, what, and what instead.
 *
 * @example
 * ```ts
 * resolveConfig({ overrides: ["data=./book.txt", "train.duration=2e6 tokens"] });
 * ```
 */
export function resolveConfig(source: ConfigSource, presets: Presets = PRESETS): RunConfig {
  const layers = layersOf(source, presets);
  const settings = layers.reduce<unknown>((below, layer) => merge(below, layer.settings), {}) as Settings;
  const result = runSchema.safeParse(settings);
  if (result.success) return result.data;
  throw new UserError(explainIssues(result.error.issues, settings, layers));
}

/**
 * Reads a config file for `resolveConfig`.
 *
 * @throws UserError if there is no such file, or its name is not that of a config
 */
export async function readConfigFile(path: string): Promise<{ path: string; text: string }> {
  if (path === "") {
    throw new UserError("Found an empty argument, expected a config (.jsonc) or key=value such as seed=7");
  }
  if (!/^\.jsonc?$/.test(extname(path))) {
    throw new UserError(`Found ${path}, expected a config (.jsonc) or key=value: data=${path} trains on it`);
  }
  try {
    return { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`No config file ${path}: give one that exists, or key=value settings`);
  }
}

function layersOf(source: ConfigSource, presets: Presets): Layer[] {
  const overrides = (source.overrides ?? []).map(parseOverride);
  const given: Layer[] = [];
  if (source.file !== undefined) given.push(fileLayer(source.file));
  if (source.settings !== undefined) given.push({ where: "settings", settings: source.settings });
  const asked = [
    overrides.findLast((layer) => Object.hasOwn(layer.settings, "preset")),
    source.preset === undefined ? undefined : { where: "preset", settings: { preset: source.preset } },
    given.findLast((layer) => layer.settings.preset !== undefined),
  ].find((layer) => layer !== undefined);

  const layers = presetLayers(asked ?? { where: "preset", settings: {} }, presets);
  const weights = source.weights === undefined ? [] : [{ where: "from", settings: source.weights }];
  return [...layers, ...weights, ...[...given, ...overrides].map(withoutPreset)];
}

function fileLayer({ path, text }: { path: string; text: string }): Layer {
  return { where: path, settings: { name: nameOf(path), ...parseJsonc(text, path) } };
}

/** The preset that a layer asks for, over the one that it starts from in its turn, down to `default`. */
function presetLayers(asked: Layer, presets: Presets): Layer[] {
  const name = presetName(asked, presets);
  const where = `preset ${name}`;
  const layer = { where, settings: { name, ...parseJsonc(presets[name], where) } };
  return [...(name === "default" ? [] : presetLayers(layer, presets)), withoutPreset(layer)];
}

function presetName({ where, settings }: Layer, presets: Presets): string {
  const name = settings.preset ?? "default";
  if (typeof name === "string" && Object.hasOwn(presets, name)) return name;
  const names = Object.keys(presets);
  const hint = hintNearest(String(name), names);
  throw new UserError(`${where}: no preset is called ${JSON.stringify(name)}, ${hint}`);
}

/** `preset` chooses layers and is no setting of the run. */
function withoutPreset({ where, settings }: Layer): Layer {
  return {
    where,
    settings: Object.fromEntries(Object.entries(settings).filter(([key]) => key !== "preset")),
  };
}

/** A file's name without what a run's name may not hold. */
function nameOf(path: string): string {
  return basename(path, extname(path)).replaceAll(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
}
