/** Files that survive a crash: contents reach the disk before their names do. */
import { statfsSync } from "node:fs";
import { join } from "@std/path";
import { cannotWrite } from "../formats/file.ts";

/** What a file or folder is called until it is whole. */
export const TEMPORARY = ".tmp-";

/** Writes a small file and fsyncs it. @throws UserError if it can't be written. */
export async function writeSynced(path: string, text: string): Promise<void> {
  try {
    using file = await Deno.open(path, { write: true, create: true, truncate: true });
    const bytes = new TextEncoder().encode(text);
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    await file.sync();
  } catch (error) {
    cannotWrite(path, error);
  }
}

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
