import { join } from "@std/path";
import type { ModelSpec } from "../../../src/config/deriveModel.ts";
import { HF_FAMILIES } from "../../../src/formats/hf/families.ts";
import type { HfFamily } from "../../../src/formats/hf/family.ts";
import { openModelFolder } from "../../../src/formats/safetensors.ts";
import { formatOf } from "../../../src/train/modelFormat.ts";
import { FIXTURES, readJson } from "../support.ts";

/** All reference models. */
export const CASES = Array.from(Deno.readDirSync(join(FIXTURES, "hf")), ({ name }) => name).sort();

/** The reference model of an architecture, where its name is not the architecture's. */
const USUAL: Readonly<Record<string, string>> = { t5: "t5_v1_1" };

export const caseOf = (name: string) => USUAL[name] ?? name;

/** @param name an architecture's or a reference model's, here and below */
export const folderOf = (name: string) => join(FIXTURES, "hf", caseOf(name));

export function familyOf(modelType: string): HfFamily {
  const family = HF_FAMILIES.find((family) => family.modelType === modelType);
  if (family === undefined) throw new Error(`no family ${modelType}`);
  return family;
}

/** Does the reference model have a tensor? */
export function hasOf(name: string): (tensor: string) => boolean {
  using source = openModelFolder(folderOf(name));
  const names = new Set(source.tensors.keys());
  return (tensor) => names.has(tensor);
}

export function specOf(name: string): ModelSpec {
  const json = readJson("hf", caseOf(name), "config.json");
  return formatOf(json).readConfig(json, hasOf(name));
}
