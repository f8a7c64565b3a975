import library from "../../deno.json" with { type: "json" };
import type { RunSpec } from "../config/derive.ts";
import { deriveModel } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { type CheckpointContents, listCheckpoints, requireSpace, saveCheckpoint } from "./checkpoint.ts";
import { digestOf } from "./digest.ts";
import type { Engine } from "../engine/engine.ts";
import type { ErrorFeedback } from "./errorFeedback.ts";
import { isDue } from "./interval.ts";
import { newestIntact, removeCheckpoints, setAside } from "./findCheckpoint.ts";
import { writeFirstWeights } from "./firstWeights.ts";
import { formatModelConfig, modelTensors, optimizerTensors } from "./modelFiles.ts";
import { configDigest, type RunFolder } from "./runFolder.ts";
import { checkSizes } from "./manifest.ts";
import type { TrainState } from "./state.ts";
import { readResidual, residualTensor } from "./residualFile.ts";
import { loadOptimizer, loadWeights } from "./weights.ts";

/** What the store needs to know of a run. */
export interface StoreOptions {
  readonly config: RunConfig;
  readonly run: RunSpec;
  readonly engine: Engine;
  readonly dataset: Dataset;
  /** null: nothing is saved. */
  readonly folder: RunFolder | null;
  /** Kept in checkpoints, beside what all nodes have in common. */
  readonly feedback: ErrorFeedback | null;
  readonly onMessage: (text: string) => void;
  /** Bytes that a folder's file system has left. */
  readonly freeBytes?: (folder: string) => number;
}

/** The way of a run's state between its engine and its folder. */
export interface Store {
  /** Step of the last checkpoint; 0 before the first. */
  readonly savedStep: number;
  /** Puts the newest intact checkpoint on the engine; null if there is none. */
  resume(): Promise<TrainState | null>;
  /** Puts the values on the engine that a run starts with. @throws the signal's reason if it comes first */
  initialize(signal?: AbortSignal): Promise<TrainState>;
  /** The state at a run's start, without its values. */
  first(): TrainState;
  /**
   * Goes on from another node's state, which is on the engine. Checkpoints of its step and later ones are not of its
   * way: they are put aside.
   */
  adopt(state: TrainState): Promise<TrainState>;
  /** Puts checkpoints from a step on aside, which may be wrong. */
  distrust(step: number): Promise<void>;
  /** @throws UserError if the folder's file system has no space for a checkpoint */
  checkSpace(): void;
  /**
   * Goes back to the last checkpoint of `checkpoint.every`, or the first: not to one that an interrupt or a validation
   * made, since a run must go the same way whether it was interrupted or not.
   */
  rollBack(): Promise<TrainState>;
  /** Saves a checkpoint, unless the state's step has one, and removes those that are no longer kept. */
  save(state: TrainState): Promise<void>;
  /** The digest of a state, which must be the engine's. */
  digest(state: TrainState): Promise<string>;
}

/** A store in a run's folder, or one that keeps nothing. */
export function openStore(options: StoreOptions): Store {
  const { config, run, engine, dataset, folder, feedback, onMessage } = options;
  const spec = deriveModel(config.model, dataset.vocabSize);
  const identity = {
    ...identityOf(config, dataset),
    adapter: engine.report.adapter,
    version: library.version,
  };
  const contents: CheckpointContents = {
    model: modelTensors(engine, spec),
    optimizer: optimizerTensors(engine),
    config: formatModelConfig(spec, dataset.specialTokens),
    tokenizer: JSON.stringify(dataset.tokenizer.toJSON()),
    residual: feedback === null ? [] : [residualTensor(feedback)],
  };
  /** The newest checkpoint, and the digest of its state if that is known. */
  let saved: { readonly step: number; readonly digest: string | null } | null = null;

  const isRegular = (step: number) =>
    step === 0 || isDue(config.checkpoint.every, run.progressAt(step - 1), run.progressAt(step), Infinity);

  /** Puts the newest intact checkpoint of the wanted steps on the engine. */
  async function load(isWanted?: (step: number) => boolean): Promise<TrainState | null> {
    if (folder === null) return null;
    const damaged: { readonly step: number; readonly message: string }[] = [];
    const note = (step: number, { message }: UserError) => void damaged.push({ step, message });
    const checkpoint = await newestIntact(folder.checkpoints, note, isWanted);
    if (checkpoint === null) {
      if (damaged.length === 0 || isWanted !== undefined) return null;
      throw noneIntact(damaged[0].message, folder);
    }
    for (const { step, message } of damaged) {
      const aside = await setAside(folder.checkpoints, step, "damaged");
      onMessage(`${message}; going on from an older one, the damaged one is now ${quote(aside)}`);
    }
    const { path, state, manifest } = checkpoint;
    checkIdentity(path, state, identity);
    if (state.adapter !== identity.adapter) {
      onMessage(
        `The run was on ${quote(state.adapter)} and goes on on ${quote(identity.adapter)}: bits may differ`,
      );
    }
    await loadWeights(engine, path, spec);
    await loadOptimizer(engine, path);
    feedback?.reset(readResidual(path));
    saved = { step: state.step, digest: manifest.digest };
    return { ...state, ...identity };
  }

  /** Checkpoints from a step on don't count any more. @param reason what is said of it */
  async function setAsideFrom(step: number, why: "replaced" | "wrong", reason: string): Promise<void> {
    if (folder === null) return;
    const steps = await listCheckpoints(folder.checkpoints);
    for (const each of steps.filter((each) => each >= step)) {
      const aside = await setAside(folder.checkpoints, each, why);
      onMessage(`${reason}: the checkpoint of step ${each} is now ${quote(aside)}`);
    }
    const newest = steps.findLast((each) => each < step);
    saved = newest === undefined ? null : { step: newest, digest: null };
  }

  /** Removes all but the last ones, the best, and the one to roll back to. */
  async function prune({ checkpoints }: RunFolder, state: TrainState): Promise<void> {
    const steps = await listCheckpoints(checkpoints);
    const kept = new Set(steps.slice(-config.checkpoint.keep));
    if (config.checkpoint.best && state.best !== null) kept.add(state.best.step);
    const regular = steps.findLast(isRegular);
    if (config.train.nonFinite === "rollback" && regular !== undefined) kept.add(regular);
    await removeCheckpoints(checkpoints, steps.filter((step) => !kept.has(step)));
  }

  return {
    get savedStep() {
      return saved?.step ?? 0;
    },

    resume: () => load(),

    async rollBack() {
      const state = await load(isRegular) ?? await load(); // any, where checkpoint.every has changed since
      if (folder === null || state === null) {
        throw new Error("a run that can roll back has a checkpoint from its start on");
      }
      const steps = await listCheckpoints(folder.checkpoints);
      await removeCheckpoints(folder.checkpoints, steps.filter((step) => step > state.step));
      return state;
    },

    async initialize(signal) {
      await writeFirstWeights({ config, engine, spec, dataset, onMessage, signal });
      feedback?.reset();
      return this.first();
    },

    first() {
      return {
        step: 0,
        samples: 0,
        tokens: 0,
        sampleOffset: 0,
        validatedStep: 0,
        sampledStep: 0,
        best: null,
        groupDigest: null,
        ...identity,
      };
    },

    async adopt(state) {
      feedback?.reset();
      await setAsideFrom(state.step, "replaced", `The group is at step ${state.step}`);
      return { ...state, ...identity };
    },

    async distrust(step) {
      await setAsideFrom(step, "wrong", "This node's weights were wrong");
    },

    checkSpace() {
      if (folder !== null) requireSpace(folder.checkpoints, contents, options.freeBytes);
    },

    async save(state) {
      if (folder === null || saved?.step === state.step) return;
      requireSpace(folder.checkpoints, contents, options.freeBytes);
      const { digest } = await saveCheckpoint(folder.checkpoints, state, contents);
      saved = { step: state.step, digest };
      await prune(folder, state);
    },

    async digest(state) {
      const known = saved?.step === state.step ? saved.digest : null;
      return known ?? await digestOf(contents.model, contents.optimizer);
    },
  };
}

/**
 * Finds, before an engine is made, what would keep it from going on with a run: all but damage inside of large files.
 *
 * @throws UserError if no checkpoint is whole, or they are of another config or other data
 */
export async function requireResumable(
  folder: RunFolder,
  config: RunConfig,
  dataset: Pick<Dataset, "hash">,
): Promise<void> {
  const damaged: string[] = [];
  const note = (_: number, { message }: UserError) => void damaged.push(message);
  const checkpoint = await newestIntact(folder.checkpoints, note, undefined, checkSizes);
  if (checkpoint !== null) checkIdentity(checkpoint.path, checkpoint.state, identityOf(config, dataset));
  else if (damaged.length > 0) throw noneIntact(damaged[0], folder);
}

function noneIntact(newest: string, { path }: RunFolder): UserError {
  return new UserError(
    `${newest}, and none before it is intact; restore the file, or remove ${quote(path)} to start anew`,
  );
}

/** What a run's checkpoints have in common. */
type Identity = Pick<TrainState, "configDigest" | "dataHash" | "numericMode">;

function identityOf(config: RunConfig, { hash }: Pick<Dataset, "hash">): Identity {
  return { configDigest: configDigest(config), dataHash: hash, numericMode: config.engine.numericMode };
}

function checkIdentity(path: string, state: TrainState, now: Identity): void {
  const what = {
    configDigest: "another config",
    dataHash: "other data",
    numericMode: "another numeric mode",
  };
  for (const key of ["configDigest", "dataHash", "numericMode"] as const) {
    if (state[key] === now[key]) continue;
    throw new UserError(
      `Checkpoint ${quote(path)} was made with ${what[key]}; ` +
        "set it back, or choose another name for the run (name=...)",
    );
  }
}
