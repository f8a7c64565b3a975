import { join } from "@std/path";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import { readTokenizer } from "../data/tokenizers/load.ts";
import { hashTokenizer } from "../data/tokenStore.ts";
import type { Engine } from "../engine/engine.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { initialValues } from "../model/init.ts";
import { readIfThere } from "./durable.ts";
import { resolveModelFolder } from "./findCheckpoint.ts";
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

async function writeRandom({ config: { seed }, engine, spec, signal }: FirstWeightsOptions): Promise<void> {
  for (const parameter of engine.report.parameters) {
    signal?.throwIfAborted();
    await engine.write("weights", parameter.name, initialValues(parameter, { seed, ...spec }));
  }
}

/** Fine-tuning: another model's weights. Its tokens must mean the same. */
async function writeThoseOf(
  from: string,
  { engine, spec, dataset, onMessage }: FirstWeightsOptions,
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
  await loadWeights(engine, folder, spec);
  onMessage(`The weights are those of ${quote(folder)}, the optimizer is fresh`);
}
