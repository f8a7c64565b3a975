import { existsSync } from "node:fs";
import { join } from "@std/path";
import { POSITIONS } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import { hashTokenizer } from "../data/tokenStore.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { hasModelWeights } from "../formats/safetensors.ts";
import type { NamedValues } from "../formats/hf/read.ts";
import { initialValues, type InitOptions } from "../model/init.ts";
import type { Parameter } from "../model/parameters.ts";
import { readIfThere } from "./durable.ts";
import { checkpointsOf, resolveModelFolder } from "./findCheckpoint.ts";
import { readModelSpec } from "./modelFiles.ts";
import { loadWeights } from "./weights.ts";

export interface FirstWeightsOptions {
  readonly config: RunConfig;
  readonly engine: Engine;
  readonly spec: ModelSpec;
  readonly dataset: Dataset;
  readonly onMessage: (text: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Puts the weights on the engine that a run starts with: random ones or, with `from`, another model's.
 *
 * @throws UserError if the other model or its tokenizer is not the run's; the signal's reason if it comes first
 */
export async function writeFirstWeights(options: FirstWeightsOptions): Promise<void> {
  const { from } = options.config;
  if (from === null) await writeRandom(options);
  else await writeThoseOf(from, options);
}

/** Are the weights here that a run starts with? Not those of a model whose folder has all but its weights. */
export function hasFirstWeights({ from }: RunConfig): boolean {
  return from === null || existsSync(checkpointsOf(from)) || hasModelWeights(from);
}

async function writeRandom({ config: { seed }, engine, spec, signal }: FirstWeightsOptions): Promise<void> {
  for (const parameter of engine.report.parameters) {
    signal?.throwIfAborted();
    await engine.write("weights", parameter.name, initialValues(parameter, { seed, ...spec }));
  }
}

/** Fine-tuning: another model's weights. Its tokens must mean the same. */
async function writeThoseOf(
  from: string,
  { config: { seed }, engine, spec, dataset, onMessage }: FirstWeightsOptions,
): Promise<void> {
  const folder = await resolveModelFolder(from, onMessage);
  const tokenizer = join(folder, "tokenizer.json");
  if (
    await readIfThere(tokenizer) !== null &&
    hashTokenizer(await readTokenizer(tokenizer)) !== hashTokenizer(dataset.tokenizer)
  ) {
    throw new UserError(
      `${quote(tokenizer)} is not the tokenizer of the run's data, expected the same as the weights'; ` +
        "set tokenizer to what the weights were trained with",
    );
  }
  const parameters = new Map(engine.report.parameters.map((parameter) => [parameter.name, parameter]));
  await loadWeights(engine, folder, spec, (tensor) => {
    const parameter = parameters.get(tensor.name);
    return parameter === undefined ? tensor : withRows(tensor, parameter, { seed, ...spec });
  });
  onMessage(`The weights are those of ${quote(folder)}, the optimizer is fresh`);
  for (const text of differences(readModelSpec(folder), spec)) onMessage(text);
}

/**
 * A tensor with as many rows as the parameter has: the first are kept, and further ones have initial values. Of models
 * that are the same (`requireSameModel`) the tables of tokens and learned positions alone differ, in rows.
 */
function withRows(tensor: NamedValues, parameter: Parameter, options: InitOptions): NamedValues {
  if (tensor.shape[0] === parameter.shape[0]) return tensor;
  const values = initialValues(parameter, options); // (rows, C)
  values.set(tensor.values.subarray(0, values.length));
  return { ...parameter, values };
}

/** What is not as it was with the weights. */
function* differences(theirs: ModelSpec, ours: ModelSpec): Generator<string> {
  if (ours.vocabSize > theirs.vocabSize) {
    const rows = `${theirs.vocabSize} to ${ours.vocabSize}`;
    yield `The table of tokens grows from ${rows} rows: the first are the weights', new ones have initial values`;
  }
  if (POSITIONS[ours.positions].rowPerPlace && ours.seqLen < theirs.seqLen) {
    yield `Of ${theirs.seqLen} ${ours.positions} positions the first ${ours.seqLen} are taken`;
  }
  const dropped = (["dropout", "attentionDropout"] as const)
    .filter((key) => theirs[key] > 0 && theirs[key] !== ours[key])
    .map((key) => `model.${key} is ${ours[key]}, the weights' config.json says ${theirs[key]}`);
  if (dropped.length > 0) yield `How to train is not taken over with weights: ${dropped.join("; ")}`;
}
