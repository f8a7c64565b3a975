import { dirname } from "@std/path";
import { cannotWrite } from "../formats/file.ts";

/** Writes a file so that its path holds the old content or the new, at any moment and after a power cut: never a part. */
export async function writeAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const temporary = `${path}.tmp`;
  try {
    {
      using file = await Deno.open(temporary, { write: true, create: true, truncate: true });
      for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
      await file.sync();
    }
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
