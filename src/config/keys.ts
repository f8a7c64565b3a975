import { z } from "zod";
import { editDistance, nearest } from "./nearest.ts";
import { runSchema } from "./schema.ts";

/** What the schema says about a key, as JSON Schema: a form that can be walked without knowing zod's classes. */
type KeySchema = z.core.JSONSchema.BaseSchema;

const ROOT: KeySchema = z.toJSONSchema(runSchema, { io: "input", unrepresentable: "any" });

/** The schema of a path such as `["model", "numLayers"]`, or null where there is no such key. */
export function schemaAt(path: readonly string[]): KeySchema | null {
  let schema = ROOT;
  for (const key of path) {
    const properties = propertiesOf(schema);
    if (!Object.hasOwn(properties, key)) return null;
    schema = properties[key];
  }
  return schema;
}

/** The keys of the group at a path; none where it is no group. */
export function keysAt(path: readonly string[]): string[] {
  return Object.keys(propertiesOf(schemaAt(path) ?? {}));
}

/** The words that a key takes. */
export function wordsOf(schema: KeySchema): string[] {
  const own = [...schema.enum ?? [], ...schema.const === undefined ? [] : [schema.const]];
  const words = own.filter((value) => typeof value === "string");
  return [...words, ...(schema.anyOf ?? []).flatMap((part) => wordsOf(asSchema(part)))];
}

/**
 * The known key that a dotted path is most likely a misspelling of; null: none is near. The last parts are compared, so
 * that `numLayer` is enough; of keys whose last parts are equally near, the one whose whole path is nearest.
 */
export function nearestKey(key: string): string | null {
  const sorted = KNOWN_KEYS.toSorted((a, b) => editDistance(key, a) - editDistance(key, b));
  return nearest(leaf(key), sorted, leaf);
}

/** JSON's names of the types that a key takes. */
export function typesOf(schema: KeySchema): string[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((part) => typesOf(asSchema(part)));
  return schema.type === undefined ? [] : [schema.type].flat();
}

/** What a key takes, in words: `a whole number above 0 or null`. */
export function describe(schema: KeySchema): string {
  if (schema.anyOf !== undefined) return schema.anyOf.map((part) => describe(asSchema(part))).join(" or ");
  const types = typesOf(schema);
  if (types.length > 1) return 'an amount such as "300 steps"' + (types.includes("null") ? " or null" : "");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) {
    return (schema.enum.length > 1 ? "one of " : "") +
      schema.enum.map((value) => JSON.stringify(value)).join(", ");
  }
  switch (types[0]) {
    case "integer":
      return "a whole number" + rangeOf(schema);
    case "number":
      return "a number" + rangeOf(schema);
    case "boolean":
      return "true or false";
    case "string":
      return schema.minLength === undefined ? "text" : "text that is not empty";
    case "object":
      return "an object { ... }";
    default:
      return String(types[0]);
  }
}

const KNOWN_KEYS: readonly string[] = keysBelow(ROOT, "");

function keysBelow(schema: KeySchema, prefix: string): string[] {
  return Object.entries(propertiesOf(schema)).flatMap(([key, part]) => {
    return [prefix + key, ...keysBelow(part, `${prefix}${key}.`)];
  });
}

function propertiesOf(schema: KeySchema): Record<string, KeySchema> {
  const parts = [schema, ...(schema.anyOf ?? []).map(asSchema)];
  const properties = parts.find((part) => part.properties !== undefined)?.properties ?? {};
  return Object.fromEntries(Object.entries(properties).map(([key, part]) => [key, asSchema(part)]));
}

/** JSON Schema allows true and false for "anything" and "nothing". */
function asSchema(schema: KeySchema | boolean): KeySchema {
  return typeof schema === "boolean" ? {} : schema;
}

function rangeOf(schema: KeySchema): string {
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = schema;
  const bounds = [
    minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? "" : `at least ${minimum}`,
    exclusiveMinimum === undefined ? "" : `above ${exclusiveMinimum}`,
    maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? "" : `at most ${maximum}`,
    exclusiveMaximum === undefined ? "" : `below ${exclusiveMaximum}`,
  ].filter((bound) => bound !== "");
  return bounds.length === 0 ? "" : " " + bounds.join(" and ");
}

function leaf(key: string): string {
  return key.slice(key.lastIndexOf(".") + 1);
}
