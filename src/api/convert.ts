import { basename, dirname, join, resolve } from "@std/path";
import { existsSync } from "node:fs";
import type { ModelSpec } from "../config/deriveModel.ts";
import { syncFolder, writeSynced } from "../data/atomicFile.ts";
import { UserError } from "../errors.ts";
import { tokenizerOf } from "../eval/origin.ts";
import { cannotWrite, quote } from "../formats/file.ts";
import { tensorsToCopy } from "../formats/hf/copy.ts";
import type { HfFamily } from "../formats/hf/family.ts";
import { findWeights } from "../formats/hf/read.ts";
import { shard } from "../formats/hf/shards.ts";
import { readSpecialTokens } from "../formats/hf/specialTokens.ts";
import { sizeOf } from "../formats/hf/tensors.ts";
import { formatHfConfig, STORED_DTYPES, type StoredDtype, tensorsToWrite } from "../formats/hf/write.ts";
import { type StreamedTensor, writeSafetensors } from "../formats/safetensors.ts";
import { sortedByName } from "../train/digest.ts";
import { TEMPORARY } from "../train/durable.ts";
import { resolveModelFolder } from "../train/findCheckpoint.ts";
import { METADATA, openModelWeights, readConfigJson } from "../train/modelFiles.ts";
import { formatOf, readModelConfig, requireHfFamily } from "../train/modelFormat.ts";

export interface ImportOptions {
  /** Ends the work before its next tensor: the signal's reason is thrown, and nothing is left behind. */
  readonly signal?: AbortSignal;
  /** Tensors written, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ExportOptions extends ImportOptions {
  /** What the weights are stored in. null, which is the default: each tensor in what it is stored in now. */
  readonly dtype?: "f32" | "f16" | "bf16" | null;
  /** Larger weights are cut into several files. Default: 5 GB. */
  readonly maxShardBytes?: number;
  /** One-line news for the user: a damaged checkpoint was passed over. */
  readonly onMessage?: (text: string) => void;
}

/** A model folder that was written. */
export interface ConvertedModel {
  readonly folder: string;
  /** `model_type` of its config.json. */
  readonly modelType: string;
  /** Numbers in the weights. */
  readonly parameters: number;
  readonly files: readonly string[];
  /** Why the model knows token ids alone and no text; empty: it has a tokenizer. */
  readonly noText: string;
}

const MAX_SHARD_BYTES = 5e9;

/** What goes along as it is. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
];

/**
 * Takes a model of Hugging Face in: checks all of it, and writes it anew as a folder that `loadModel`, `from` of a
 * config and transformers read, in today's names and in one file. No value changes. Tensors are copied in parts: memory
 * does not grow with them.
 *
 * @param from holds config.json and the weights, in one file or several
 * @param folder is made; it must not be there
 * @throws UserError if there is no such model, or none that we know: what is missing, wrong or unknown; and for a
 * tokenizer.json that has more tokens than the model: another model's
 *
 * @example
 * ```ts
 * await importModel("downloads/pythia-70m", "runs/pythia-70m");
 * await using model = await loadModel("runs/pythia-70m");
 * ```
 */
export async function importModel(
  from: string,
  folder: string,
  options: ImportOptions = {},
): Promise<ConvertedModel> {
  if (existsSync(join(from, "config.jsonc"))) {
    throw new UserError(
      `${
        quote(from)
      } is a run, expected a folder with config.json and safetensors; use it as it is, or go on from it ` +
        `(from=${from})`,
    );
  }
  return await convert(from, folder, (_, json) => formatOf(json), Infinity, options);
}

/**
 * Writes a model as Hugging Face's transformers load it.
 *
 * @param from a run (its newest intact checkpoint is taken), a checkpoint, or a model's folder
 * @param folder is made; it must not be there
 * @throws UserError if there is no such model, or nothing there that expresses it: what is lacking; and for a
 * tokenizer.json that has more tokens than the model
 *
 * @example
 * ```ts
 * await exportModel("runs/default", "out", { dtype: "bf16" });
 * ```
 */
export async function exportModel(
  from: string,
  folder: string,
  options: ExportOptions = {},
): Promise<ConvertedModel> {
  const source = await resolveModelFolder(from, options.onMessage ?? (() => {}));
  return await convert(source, folder, requireHfFamily, options.maxShardBytes ?? MAX_SHARD_BYTES, options);
}

async function convert(
  from: string,
  folder: string,
  familyOf: (spec: ModelSpec, json: unknown) => HfFamily,
  maxShardBytes: number,
  { dtype = null, signal, onProgress }: ExportOptions,
): Promise<ConvertedModel> {
  const json = readConfigJson(from);
  using weights = openModelWeights(from);
  const spec = readModelConfig(json, (tensor) => weights.tensors.has(tensor));
  const [format, family] = [formatOf(json), familyOf(spec, json)];
  const found = findWeights(weights, format, spec);
  await tokenizerOf(from, spec); // another model's is found before anything is written
  const dtypeOf = (name: string) => storedDtype(dtype ?? weights.tensors.get(name)?.dtype);

  let done = 0;
  // No two architectures express a model, so another format than the family's is ours, with every parameter under its name.
  const all = sortedByName<StreamedTensor>(
    format === family
      ? tensorsToCopy(weights, found, dtypeOf)
      : tensorsToWrite(family.tensors(spec), (name) => Promise.resolve(weights.read(name)), dtypeOf),
  );
  const watched = all.map((tensor): StreamedTensor => ({
    ...tensor,
    values() {
      signal?.throwIfAborted();
      onProgress?.(++done, all.length);
      return tensor.values();
    },
  }));
  const tokens = readSpecialTokens(json);
  const { files, index } = shard(watched, maxShardBytes);
  await inNewFolder(folder, async (temporary) => {
    for (const [name, part] of files) await writeSafetensors(join(temporary, name), part, METADATA);
    if (index !== null) await writeSynced(join(temporary, "model.safetensors.index.json"), index);
    const embedding = found.nameOf(found.tensors[0].pieces[0]);
    const config = formatHfConfig(family, spec, tokens, dtypeOf(embedding));
    await writeSynced(join(temporary, "config.json"), config);
    for (const name of COMPANIONS) await copyIfThere(join(from, name), join(temporary, name));
  });
  return {
    folder,
    modelType: family.modelType,
    parameters: found.tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    files: Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(),
    noText: (await tokenizerOf(folder, spec)).noText,
  };
}

/** What a type of tensors, ours or a file's, is stored as; all but the short ones are stored as float32. */
function storedDtype(dtype: string | undefined): StoredDtype {
  const names = Object.keys(STORED_DTYPES) as StoredDtype[];
  return names.find((name) => name === dtype?.toUpperCase()) ?? "F32";
}

/** Makes a folder that is there whole or not at all. @throws UserError if it is there, or can't be made */
async function inNewFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const parent = dirname(resolve(folder));
  const temporary = join(parent, TEMPORARY + basename(resolve(folder)));
  if (await Deno.lstat(folder).then(() => true, () => false)) {
    throw new UserError(
      `${quote(folder)} is there already, expected a new folder; choose another or remove it`,
    );
  }
  try {
    await Deno.remove(temporary, { recursive: true }).catch(() => {}); // what a killed process has left
    await Deno.mkdir(temporary, { recursive: true }).catch((error) => cannotWrite(folder, error));
    await fill(temporary);
    await syncFolder(temporary);
    await Deno.rename(temporary, folder);
    await syncFolder(parent);
  } catch (error) {
    await Deno.remove(temporary, { recursive: true }).catch(() => {}); // the first error is the one to tell
    throw error;
  }
}

async function copyIfThere(from: string, to: string): Promise<void> {
  try {
    await writeSynced(to, await Deno.readFile(from));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
