import { join } from "@std/path";

/** A folder for a group's coordinator, which is not there yet. */
export async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(join(folder, "group"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
