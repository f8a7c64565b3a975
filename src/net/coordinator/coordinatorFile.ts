/**
 * What a coordinator keeps on disk: a few hundred bytes, written whole or not at all, by one process at a
 * time.
 */
import { dirname } from "@std/path";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { z } from "zod";
import { RetryError, UserError } from "../../errors.ts";
import { identitySchema } from "../control/messages.ts";
import type { SavedGroup } from "./types.ts";

const u32 = z.int().min(0).max(2 ** 32 - 1);
const ids = z.array(z.string());
const savedSchema = z.strictObject({
  identity: identitySchema,
  epoch: u32,
  step: u32,
  members: ids,
  electorates: z.array(ids),
  needsMajority: z.boolean(),
  keepers: z.record(z.string(), u32).optional(),
});
const fileSchema = z.strictObject({ format: z.literal(1), checksum: z.string(), group: savedSchema });

/** A coordinator's file, this process's alone until it is disposed of. */
export interface CoordinatorFile extends Disposable {
  /** What it held when it was opened; null: there was none. */
  readonly saved: SavedGroup | null;
  /**
   * Replaces what the file holds. It lasts, even through a power cut, when this returns.
   *
   * @throws RetryError if the file or its lock is no longer this process's: another coordinator may have
   * taken over
   * @throws UserError if it can't be written
   */
  write(group: SavedGroup): Promise<void>;
  /** Ends as `using` does, and removes what opening it has made: nothing was written. */
  discard(): void;
}

/**
 * Opens the file of a group's coordinator in a folder, which is made if need be. The operating system's lock
 * ends with the process, however that ends.
 *
 * @throws UserError if another process has it, if it can't be read, or if it is damaged
 *
 * @example
 * ```ts
 * using file = await openCoordinatorFile("runs/my/coordinator");
 * const state = createCoordinator(settings, file.saved);
 * ```
 */
export async function openCoordinatorFile(folder: string): Promise<CoordinatorFile> {
  const [path, lockPath] = [`${folder}/coordinator.json`, `${folder}/coordinator.lock`];
  const missing = missingFolders(folder);
  const lock = await takeLock(folder, lockPath);
  const discard = () => {
    // While the lock is held nobody else can have begun here.
    const doomed = missing.includes(folder) ? [lockPath, ...missing] : [];
    try {
      for (const made of doomed) Deno.removeSync(made);
    } catch {
      // somebody has put something there; the error that led here is the one to tell
    }
    release(lock);
  };
  try {
    let text = await readIfThere(path);
    const saved = text === null ? null : parseSaved(path, text);
    const write = async (group: SavedGroup) => {
      if (!await isSameFile(lock, lockPath)) throw fenced(lockPath, "is another file than was locked");
      if (await readIfThere(path) !== text) throw fenced(path, "was changed by somebody else");
      const next = format(group);
      await writeAtomically(folder, path, next);
      text = next;
    };
    return { saved, write, discard, [Symbol.dispose]: () => release(lock) };
  } catch (error) {
    release(lock);
    throw error;
  }
}

/** The folders that have to be made for a path, the innermost first. */
function missingFolders(path: string): string[] {
  if (path === dirname(path) || existsSync(path)) return [];
  return [path, ...missingFolders(dirname(path))];
}

/** Not by closing alone: a process that another thread is starting may have the file open, too, for a moment. */
function release(lock: Deno.FsFile): void {
  lock.unlockSync();
  lock.close();
}

function fenced(path: string, finding: string): RetryError {
  return new RetryError(`"${path}" ${finding}: another coordinator may have taken over, this one stops`);
}

async function takeLock(folder: string, path: string): Promise<Deno.FsFile> {
  const fail = (error: unknown) => cannot(`write "${path}"`, error);
  await Deno.mkdir(folder, { recursive: true }).catch(fail);
  const file = await Deno.open(path, { read: true, write: true, create: true }).catch(fail);
  const noLocks = (error: unknown) => {
    file.close();
    return cannot(`lock "${path}"`, error, "; choose a folder on a file system with locks");
  };
  if (await file.tryLock(true).catch(noLocks)) return file;
  file.close();
  throw new UserError(
    `"${folder}" is in use by another coordinator, expected one at a time; stop that one, or take another folder for another run`,
  );
}

/**
 * Is a path still the file that is open? Systems without inode numbers can't tell, and don't let it be
 * replaced.
 */
async function isSameFile(file: Deno.FsFile, path: string): Promise<boolean> {
  const own = await file.stat();
  const there = await Deno.stat(path).catch(() => null);
  return there !== null && there.ino === own.ino && there.dev === own.dev;
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    return cannot(`read "${path}"`, error);
  }
}

function format(group: SavedGroup): string {
  return JSON.stringify({ format: 1, checksum: checksum(group), group }) + "\n";
}

function parseSaved(path: string, text: string): SavedGroup {
  let json: unknown = null;
  try {
    json = JSON.parse(text);
  } catch {
    // said below
  }
  const parsed = fileSchema.safeParse(json);
  if (parsed.success && parsed.data.checksum === checksum(parsed.data.group)) return parsed.data.group;
  throw new UserError(
    `"${path}" is damaged, expected a coordinator's file; ` +
      `remove it, and more than half of the last group's members can go on`,
  );
}

function checksum(
  { identity, epoch, step, members, electorates, needsMajority, keepers }: SavedGroup,
): string {
  const { run, version, configDigest, tokenizerHash, virtualWorkers, probe } = identity;
  const fields = [run, version, configDigest, tokenizerHash, virtualWorkers, probe];
  const newer = keepers === undefined ? [] : [keepers];
  const text = JSON.stringify([fields, epoch, step, members, electorates, needsMajority, ...newer]);
  return createHash("sha256").update(text).digest("hex");
}

async function writeAtomically(folder: string, path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    using file = await Deno.open(temporary, { write: true, create: true, truncate: true });
    const bytes = new TextEncoder().encode(text);
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    await file.sync();
    await Deno.rename(temporary, path);
    if (Deno.build.os === "windows") return; // no such call
    using directory = await Deno.open(folder);
    await directory.sync();
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // what counts is the first error
    cannot(`write "${path}"`, error);
  }
}

function cannot(what: string, error: unknown, advice = ""): never {
  throw new UserError(`Can't ${what}: ${error instanceof Error ? error.message : error}${advice}`);
}
