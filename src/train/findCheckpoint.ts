import { syncFolder } from "../data/atomicFile.ts";
import { basename, dirname, join } from "@std/path";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { type Checkpoint, checkpointPath, listCheckpoints, readCheckpoint } from "./checkpoint.ts";
import { TEMPORARY } from "./durable.ts";
import { type Manifest, verifyManifest } from "./manifest.ts";

/** Files that only a checkpoint has: a folder with one of them is to be whole. */
const OF_CHECKPOINT: readonly string[] = ["manifest.json", "state.json", "optimizer.safetensors"];

/** Where a run keeps its checkpoints. */
export function checkpointsOf(runFolder: string): string {
  return join(runFolder, "checkpoints");
}

/**
 * The newest checkpoint of a folder that is intact, or null if there is none.
 *
 * @param onDamaged is told of each newer one that is not intact
 * @param isWanted by step; others are passed over
 * @param verify what makes a checkpoint an intact one
 */
export async function newestIntact(
  folder: string,
  onDamaged: (step: number, error: UserError) => void | Promise<void> = () => {},
  isWanted: (step: number) => boolean = () => true,
  verify: (path: string) => Promise<Manifest> = verifyManifest,
): Promise<Checkpoint | null> {
  for (const step of (await listCheckpoints(folder)).filter(isWanted).reverse()) {
    const path = checkpointPath(folder, step);
    let manifest;
    try {
      manifest = await verify(path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      await onDamaged(step, error);
      continue;
    }
    return await readCheckpoint(path, manifest);
  }
  return null;
}

/**
 * The model folder that a path means: of a run its newest intact checkpoint, else the folder itself, verified if it is
 * a checkpoint.
 *
 * @throws UserError if a run has no intact checkpoint, or if the named one is damaged: which file, and which
 * checkpoint before it is intact
 */
export async function resolveModelFolder(path: string, onMessage: (text: string) => void): Promise<string> {
  if (await exists(checkpointsOf(path))) {
    const newest = await newestIntact(checkpointsOf(path), (_, { message }) => onMessage(message));
    if (newest !== null) return newest.path;
    const hasSome = (await listCheckpoints(checkpointsOf(path))).length > 0;
    throw new UserError(
      hasSome
        ? `${quote(path)} has no intact checkpoint; restore the files`
        : `${quote(path)} has no checkpoint yet; wait for its first, or start the run again`,
    );
  }
  if (!(await Promise.all(OF_CHECKPOINT.map((name) => exists(join(path, name))))).includes(true)) return path;
  try {
    await verifyManifest(path);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const step = Number(/^step-(\d+)$/.exec(basename(path))?.[1] ?? 0);
    const before = await newestIntact(dirname(path), undefined, (other) => other < step);
    const hint = before === null ? "none before it is intact" : `${quote(before.path)} is intact, use that`;
    throw new UserError(`${error.message}; ${hint}`);
  }
  return path;
}

/** Removes the checkpoints of some steps; a half-removed one is never taken for a whole one. */
export async function removeCheckpoints(folder: string, steps: readonly number[]): Promise<void> {
  for (const step of steps) {
    const doomed = join(folder, `${TEMPORARY}old-step-${step}`);
    await Deno.rename(checkpointPath(folder, step), doomed);
    await Deno.remove(doomed, { recursive: true });
  }
}

/** Takes a checkpoint out of the row, so that its step can be saved again. @param why begins its new name */
export async function setAside(
  folder: string,
  step: number,
  why: "damaged" | "replaced" | "wrong",
): Promise<string> {
  const aside = join(folder, `${why}-step-${step}`);
  if (await exists(aside)) await Deno.remove(aside, { recursive: true });
  await Deno.rename(checkpointPath(folder, step), aside);
  await syncFolder(folder);
  return aside;
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}
