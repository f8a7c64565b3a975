import { createHash } from "node:crypto";
import { join } from "@std/path";
import { syncFolder, writeSynced } from "../data/atomicFile.ts";
import { UserError } from "../errors.ts";
import { checked } from "../formats/checked.ts";
import { cannotWrite, quote } from "../formats/file.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import { digester, sortedByName } from "./digest.ts";
import { freeBytes, TEMPORARY } from "./durable.ts";
import { type Manifest, writeManifest } from "./manifest.ts";
import { METADATA } from "./modelFiles.ts";
import { RESIDUAL_FILE } from "./residualFile.ts";
import { stateSchema, type TrainState } from "./state.ts";

/** What a checkpoint is made of, beside the state. */
export interface CheckpointContents {
  /** Of model.safetensors and optimizer.safetensors: each is read when it is written. */
  readonly model: readonly TensorToWrite[];
  readonly optimizer: readonly TensorToWrite[];
  /** Texts of config.json and tokenizer.json. */
  readonly config: string;
  readonly tokenizer: string;
  /** Of this node alone, see residualFile.ts; none: no such file. */
  readonly residual: readonly TensorToWrite[];
}

/** Where the checkpoint of a step lies in a folder of checkpoints. */
export function checkpointPath(folder: string, step: number): string {
  return join(folder, `step-${step}`);
}

/** The steps of a folder's checkpoints, ascending. */
export async function listCheckpoints(folder: string): Promise<number[]> {
  const steps: number[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) {
      const match = /^step-(\d+)$/.exec(entry.name);
      if (match && entry.isDirectory) steps.push(Number(match[1]));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return steps.sort((a, b) => a - b);
}

/**
 * Saves a checkpoint: all of it, or nothing. It is written under a temporary name, fsynced, then renamed.
 *
 * @throws UserError if the disk is full; the checkpoints before are intact
 */
export async function saveCheckpoint(
  folder: string,
  state: TrainState,
  contents: CheckpointContents,
): Promise<Manifest> {
  const path = checkpointPath(folder, state.step);
  const temporary = join(folder, `${TEMPORARY}step-${state.step}`);
  await Deno.mkdir(temporary).catch((error) => cannotWrite(temporary, error));
  try {
    const manifest = await writeFiles(temporary, state, contents);
    await syncFolder(temporary);
    await Deno.rename(temporary, path);
    await syncFolder(folder);
    return manifest;
  } catch (error) {
    await Deno.remove(temporary, { recursive: true }).catch(() => {}); // the first error is the one to tell
    throw error;
  }
}

async function writeFiles(
  folder: string,
  state: TrainState,
  contents: CheckpointContents,
): Promise<Manifest> {
  const digest = digester();
  const files: Manifest["files"] = {};
  for (const [kind, tensors] of [["model", contents.model], ["optimizer", contents.optimizer]] as const) {
    const name = `${kind}.safetensors`;
    const written = await writeSafetensors(
      join(folder, name),
      digest.through(sortedByName(tensors)),
      METADATA,
    );
    files[name] = { bytes: (await Deno.stat(join(folder, name))).size, sha256: written.file };
  }
  if (contents.residual.length > 0) {
    const path = join(folder, RESIDUAL_FILE);
    const written = await writeSafetensors(path, contents.residual, METADATA);
    files[RESIDUAL_FILE] = { bytes: (await Deno.stat(path)).size, sha256: written.file };
  }
  const texts = {
    "state.json": JSON.stringify(state, null, 2),
    "config.json": contents.config,
    "tokenizer.json": contents.tokenizer,
  };
  for (const [name, text] of Object.entries(texts)) {
    await writeSynced(join(folder, name), text);
    const bytes = new TextEncoder().encode(text);
    files[name] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }
  const manifest = { step: state.step, digest: digest.hex(), files };
  await writeManifest(folder, manifest);
  return manifest;
}

/** Headers, texts and file system blocks. */
const SLACK_BYTES = 1 << 20;

/**
 * Holds what a checkpoint takes against what the folder's file system has left.
 *
 * @param free bytes that a folder's file system has left
 * @throws UserError if the checkpoint does not fit
 */
export function requireSpace(
  folder: string,
  contents: CheckpointContents,
  free: (folder: string) => number = freeBytes,
): void {
  const elements = [...contents.model, ...contents.optimizer, ...contents.residual]
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  const needed = 4 * elements + new TextEncoder().encode(contents.tokenizer).length + SLACK_BYTES;
  const found = free(folder);
  if (found >= needed) return;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  throw new UserError(
    `The disk is too full for a checkpoint: ${quote(folder)} has ${megabytes(found)} free, ` +
      `expected at least ${megabytes(needed)}; free some space and start the run again, ` +
      "it goes on from what is saved",
  );
}

/** A checkpoint that has been verified. */
export interface Checkpoint {
  readonly path: string;
  readonly state: TrainState;
  readonly manifest: Manifest;
}

/** Reads the state of a checkpoint whose files have been verified. */
export async function readCheckpoint(path: string, manifest: Manifest): Promise<Checkpoint> {
  const file = join(path, "state.json");
  return { path, state: checked(stateSchema, JSON.parse(await Deno.readTextFile(file)), file), manifest };
}
