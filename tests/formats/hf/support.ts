import { join } from "@std/path";
import type { ModelSpec } from "../../../src/config/deriveModel.ts";
import { HF_FAMILIES } from "../../../src/formats/hf/families.ts";
import type { HfFamily } from "../../../src/formats/hf/family.ts";
import { openModelFolder } from "../../../src/formats/safetensors.ts";
import { FIXTURES, readJson } from "../support.ts";

/** The reference model of each architecture. */
export const FOLDERS: Readonly<Record<string, string>> = {
  gpt2: "gpt2",
  bloom: "bloom",
  gpt_neox: "gpt_neox",
  llama: "llama",
  t5: "t5_v1_1",
};

export const folderOf = (modelType: string) => join(FIXTURES, "hf", FOLDERS[modelType]);

export function familyOf(modelType: string): HfFamily {
  const family = HF_FAMILIES.find((family) => family.modelType === modelType);
  if (family === undefined) throw new Error(`no family ${modelType}`);
  return family;
}

/** Does the reference model have a tensor? */
export function hasOf(modelType: string): (tensor: string) => boolean {
  using source = openModelFolder(folderOf(modelType));
  const names = new Set(source.tensors.keys());
  return (tensor) => names.has(tensor);
}

export function specOf(modelType: string): ModelSpec {
  const json = readJson("hf", FOLDERS[modelType], "config.json");
  return familyOf(modelType).readConfig(json, hasOf(modelType));
}
