import { dirname } from "@std/path";
import { cannotWrite } from "../formats/file.ts";

/** Writes a file and fsyncs it. @throws UserError if it can't be written */
export async function writeSynced(path: string, content: Uint8Array | string): Promise<void> {
  await writeAndSync(path, content).catch((error) => cannotWrite(path, error));
}

/**
 * Writes a file so that its path holds the old content or the new, at any moment and after a power cut: never a part.
 *
 * @throws UserError if it can't be written
 */
export async function writeAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const temporary = temporaryOf(path);
  try {
    await writeAndSync(temporary, content);
    await Deno.rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // what counts is the first error
    cannotWrite(path, error);
  }
}

/** Makes the names in a folder last. Windows has no such call. */
export async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(path);
  await folder.sync();
}

/** Where a file lies until it is whole. */
export function temporaryOf(path: string): string {
  return `${path}.tmp`;
}

async function writeAndSync(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  await file.sync();
}
