/** What a run needs to know of the disk below its folder. */
import { statfsSync } from "node:fs";
import { join } from "@std/path";

/** What a file or folder is called until it is whole. */
export const TEMPORARY = ".tmp-";

/** Removes what a killed process left half-written in a folder. */
export async function removeTemporary(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    if (entry.name.startsWith(TEMPORARY)) await Deno.remove(join(folder, entry.name), { recursive: true });
  }
}

/** Bytes that a folder's file system has left for us. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** The text of a file, or null if there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
