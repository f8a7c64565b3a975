import { parse } from "@std/jsonc";
import { UserError } from "../errors.ts";
import { schemaAt, typesOf } from "./keys.ts";

/** Settings as they were written, before the schema has seen them. */
export type Settings = { readonly [key: string]: unknown };

/** One source of settings, and how a person finds it: a file's path, `command line`, `preset gpt3-125m`. */
export interface Layer {
  readonly where: string;
  readonly settings: Settings;
}

/** Reads JSON with comments; it must hold an object. Throws UserError with the line of a mistake. */
export function parseJsonc(text: string, where: string): Settings {
  let value: unknown;
  try {
    value = parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new UserError(syntaxMessage(error, text, where));
  }
  if (isSettings(value)) return value;
  throw new UserError(`${where} holds ${JSON.stringify(value)}, expected an object { ... }`);
}

/** Turns `model.numLayers=6` into a layer. The value is JSON where it is JSON, else text. */
export function parseOverride(override: string): Layer {
  const equals = override.indexOf("=");
  if (equals < 1) {
    throw new UserError(`command line: found ${override}, expected key=value such as model.numLayers=6`);
  }
  const path = override.slice(0, equals).split(".");
  const value = parseValue(override.slice(equals + 1), path);
  const settings = path.reduceRight<unknown>((inner, key) => Object.fromEntries([[key, inner]]), value);
  return { where: "command line", settings: settings as Settings };
}

/** Lays `over` over `base`: objects key by key, everything else replaces. */
export function merge(base: unknown, over: unknown): unknown {
  if (!isSettings(base) || !isSettings(over)) return over;
  const keys = new Set([...Object.keys(base), ...Object.keys(over)]);
  // fromEntries defines own properties, so that a key `__proto__` stays a key and is found unknown
  return Object.fromEntries([...keys].map((key) => {
    if (!Object.hasOwn(over, key) || over[key] === undefined) return [key, base[key]];
    return [key, Object.hasOwn(base, key) ? merge(base[key], over[key]) : over[key]];
  }));
}

export function isSettings(value: unknown): value is Settings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseValue(text: string, path: readonly string[]): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  // name=2024 is a name, not a number
  const types = typesOf(schemaAt(path) ?? {});
  const isScalar = typeof value === "number" || typeof value === "boolean";
  const isTaken = types.includes(typeof value) || (Number.isInteger(value) && types.includes("integer"));
  return isScalar && types.includes("string") && !isTaken ? text : value;
}

function syntaxMessage(error: unknown, text: string, where: string): string {
  if (!(error instanceof SyntaxError)) throw error;
  const found = /unexpected token "(.*)" in JSONC at position (\d+)/s.exec(error.message);
  if (found === null) {
    return `${where}:${lineAt(text, text.trimEnd().length)}: the text ends too early, expected more JSON`;
  }
  const token = JSON.stringify(found[1]).slice(1, -1);
  return `${where}:${
    lineAt(text, Number(found[2]))
  }: found ${token}, expected JSON with comments; look for a missing comma or quote`;
}

/** The line of a character, counted from 1. */
function lineAt(text: string, position: number): number {
  return text.slice(0, position).split("\n").length;
}
