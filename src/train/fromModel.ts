import type { ModelSpec } from "../config/deriveModel.ts";
import type { Settings } from "../config/layers.ts";
import { checkpointPath, listCheckpoints } from "./checkpoint.ts";
import { checkpointsOf } from "./findCheckpoint.ts";
import { readModelSpec } from "./modelFiles.ts";
import { settingsOf } from "./modelFormat.ts";
import { requireSameModel } from "./weights.ts";

/** How to train, which is no business of the weights that a run starts from. */
const OF_TRAINING: readonly string[] = [
  "dropout",
  "attentionDropout",
  "zLoss",
  "initStd",
  "scaledResidualInit",
];

/**
 * The settings that weights bring with them, `{ model: ... }`: to be laid over the presets and under all that a user
 * sets.
 *
 * @param from a run, a checkpoint or a model of Hugging Face, of which only config.json and names of tensors are read
 * @throws UserError if there is no such model
 */
export async function modelSettings(from: string): Promise<Settings> {
  const model = settingsOf(readModelSpec(await modelFolder(from)));
  return { model: Object.fromEntries(Object.entries(model).filter(([key]) => !OF_TRAINING.includes(key))) };
}

/**
 * Holds a model against the weights that it is to start from, before anything is allocated.
 *
 * @throws UserError if there are no such weights, or they are another model's: every setting that differs
 */
export async function requireModelOf(from: string, spec: ModelSpec): Promise<void> {
  requireSameModel(await modelFolder(from), spec);
}

/** Of a run the newest checkpoint, intact or not: they all have the same model. */
async function modelFolder(path: string): Promise<string> {
  const newest = (await listCheckpoints(checkpointsOf(path))).at(-1);
  return newest === undefined ? path : checkpointPath(checkpointsOf(path), newest);
}
