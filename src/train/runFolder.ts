import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "@std/path";
import { differences, formatConfig, listSettings } from "../config/format.ts";
import { resolveConfig } from "../config/load.ts";
import type { RunConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { cannotWrite, messageOf, quote } from "../formats/file.ts";
import { listCheckpoints } from "./checkpoint.ts";
import { syncFolder, temporaryOf, writeAtomically } from "../data/atomicFile.ts";
import { readIfThere, removeTemporary } from "./durable.ts";
import { checkpointsOf } from "./findCheckpoint.ts";
import { METRICS } from "./metricsLog.ts";

/**
 * A run's folder, held by this process alone until it is disposed of. A folder that was made and in which no step was
 * done is removed then: a run that can't start leaves nothing behind.
 */
export interface RunFolder extends Disposable {
  readonly path: string;
  /** The folder of its checkpoints. */
  readonly checkpoints: string;
}

/**
 * Keys that may change while a run lives: they decide when it ends, what it tells and what happens where it could not go
 * on, not what is computed.
 */
const FREE_KEYS =
  /^(name|train\.(duration|nonFinite|skippedStepCounts)|log|checkpoint|validation\.(every|samples)|engine\.(?!numericMode).*)(\.|$)/;

/** A run's settings, by which its folder is known. */
const CONFIG = "config.jsonc";

/** What a node that keeps the run is called in its group; its own, not the run's. */
export const MEMBER = "member";

/** Keys in which the nodes of a group may differ: where things lie, what is told and kept, and how fast it goes. */
const NODE_KEYS = /^(data|from|log|checkpoint|validation\.(every|samples)|engine\.(?!numericMode).*)(\.|$)/;

/**
 * Keys that were added after runs had been made without them, each with the value, as JSON, by which nothing changes.
 * With that value they are left out of digests: the digest of an older run stays what it was.
 */
const NEUTRAL: Readonly<Record<string, string>> = { "model.logitSoftCap": "null", "scale.wire": '"f32"' };

/**
 * Makes a run's folder, or opens the one that is there to go on with it. What a killed process left half-written is
 * removed.
 *
 * @param whenInUse what to do where another process has it
 * @throws UserError if it can't be made, if another process has it, if it holds something else than a run, or if it
 * belongs to another config: which keys differ
 *
 * @example
 * ```ts
 * using folder = await openRunFolder(`runs/${config.name}`, config);
 * ```
 */
export async function openRunFolder(
  path: string,
  config: RunConfig,
  whenInUse = "wait for it or stop it",
): Promise<RunFolder> {
  const checkpoints = checkpointsOf(path);
  const isNew = await Deno.lstat(path).then(() => false, () => true);
  if (!isNew) await refuseOtherFiles(path);
  await Deno.mkdir(checkpoints, { recursive: true }).catch((error) => cannotWrite(path, error));
  const lock = await takeLock(path, whenInUse);
  const close = () => {
    if (isNew && isUntouched(path)) removeQuietly(path);
    lock.unlockSync(); // a process that another thread is starting may have the file open, too, for a moment
    lock.close();
  };
  try {
    await removeTemporary(checkpoints);
    await matchConfig(path, config);
    await syncFolder(path);
  } catch (error) {
    close();
    throw error;
  }
  return { path, checkpoints, [Symbol.dispose]: close };
}

/** What a start makes before the config by which a run is known. */
const BEFORE_CONFIG: readonly string[] = ["lock", "checkpoints", temporaryOf(CONFIG)];

/** Files that no run has made are nobody's to write over: an imported model's, say. */
async function refuseOtherFiles(folder: string): Promise<void> {
  const names = await namesIn(folder);
  const other = names.find((name) => !name.startsWith(".") && !BEFORE_CONFIG.includes(name));
  if (
    other === undefined || names.includes(CONFIG) || (await listCheckpoints(checkpointsOf(folder))).length > 0
  ) {
    return;
  }
  const hint = names.includes("config.json") ? `, or train on the model that lies there: from=${folder}` : "";
  throw new UserError(
    `${quote(folder)} is no run: it has ${
      quote(other)
    } but no ${CONFIG}, expected a run or an empty folder; ` +
      `choose another name (name=...)${hint}`,
  );
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name)).sort();
  } catch {
    return []; // to make it a run's folder tells why it can't be one
  }
}

/** Was no step done in a run's folder? The first one is logged. */
function isUntouched(folder: string): boolean {
  return isEmpty(checkpointsOf(folder)) && !existsSync(join(folder, METRICS));
}

function removeQuietly(folder: string): void {
  try {
    Deno.removeSync(folder, { recursive: true });
  } catch {
    // the error that ended the run is the one to tell
  }
}

/** SHA-256 of all keys that may not change. */
export function configDigest(config: RunConfig): string {
  return digestWithout(FREE_KEYS, config);
}

/** SHA-256 of all keys that are the same on the nodes of a group; what lies behind their paths is compared otherwise. */
export function groupConfigDigest(config: RunConfig): string {
  return digestWithout(NODE_KEYS, config);
}

/** The settings that `groupConfigDigest` is of, as people write them. */
export function groupSettings(config: RunConfig): [key: string, value: string][] {
  return listSettings(config).filter(([key]) => !NODE_KEYS.test(key));
}

function digestWithout(free: RegExp, config: RunConfig): string {
  const fixed = settings("", config).filter(([key, value]) => !free.test(key) && NEUTRAL[key] !== value);
  return createHash("sha256").update(JSON.stringify(fixed)).digest("hex");
}

/** The operating system's lock on the file `lock`: it ends with the process, however that ends. */
async function takeLock(folder: string, whenInUse: string): Promise<Deno.FsFile> {
  const path = join(folder, "lock");
  const fail = (error: unknown) => cannotWrite(path, error);
  const file = await Deno.open(path, { read: true, write: true, create: true }).catch(fail);
  const noLocks = (error: unknown) => {
    file.close();
    throw new UserError(
      `Cannot lock ${quote(path)}: ${
        messageOf(error)
      }; choose a folder on a file system with locks (NFS has them if ` +
        "mounted so)",
    );
  };
  if (await file.tryLock(true).catch(noLocks)) {
    await file.truncate();
    await file.write(new TextEncoder().encode(`${Deno.pid}\n`)).catch(fail);
    return file;
  }
  file.close();
  const holder = (await readIfThere(path))?.trim();
  throw new UserError(
    `${quote(folder)} is in use by process ${holder}, expected one at a time; ${whenInUse}`,
  );
}

/** The config that a run's folder keeps, whole; null: it keeps none. */
export async function readKeptConfig(folder: string): Promise<{ config: RunConfig; text: string } | null> {
  const path = join(folder, CONFIG);
  const text = await readIfThere(path);
  return text === null ? null : { config: resolveConfig({ file: { path, text } }), text };
}

async function matchConfig(folder: string, config: RunConfig): Promise<void> {
  const kept = await readKeptConfig(folder);
  if (kept !== null) {
    const before = kept.config;
    const fixed = differences(before, config).filter((line) =>
      !FREE_KEYS.test(line.slice(0, line.indexOf(": ")))
    );
    if (fixed.length > 0 && isEmpty(checkpointsOf(folder))) {
      // Nothing was trained yet, a mistake was found at the start perhaps: begin anew with the mended config.
      await forget(folder);
    } else if (fixed.length > 0) {
      throw new UserError(
        `${quote(folder)} belongs to another config (${fixed.join(", ")}); ` +
          `choose another name (name=...), or remove the folder to start anew`,
      );
    }
  }
  const resolved = formatConfig(config);
  if (kept?.text !== resolved) await writeAtomically(join(folder, CONFIG), resolved);
}

function isEmpty(folder: string): boolean {
  return Deno.readDirSync(folder).next().done === true;
}

/** What stays where a run begins anew. */
const KEPT: readonly string[] = ["lock", CONFIG, MEMBER];

/** Removes what a start without a checkpoint has left: tokens, tokenizer and logs. */
async function forget(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!KEPT.includes(name)) await Deno.remove(join(folder, name), { recursive: true });
  }
  await Deno.mkdir(checkpointsOf(folder), { recursive: true });
}

/** All settings as dotted keys with their values as JSON, sorted by key. */
function settings(path: string, value: unknown): [string, string][] {
  if (typeof value !== "object" || value === null) return [[path, JSON.stringify(value)]];
  const prefix = path === "" ? "" : `${path}.`;
  return Object.entries(value)
    .flatMap(([key, part]) => settings(prefix + key, part))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}
