import { fromFileUrl, join } from "@std/path";

export const FIXTURES = fromFileUrl(new URL("../fixtures", import.meta.url));

/** Every folder of the reference data with a model in it. */
export function modelFolders(): string[] {
  return ["hf", "study"].flatMap((group) =>
    [...Deno.readDirSync(join(FIXTURES, group))].map(({ name }) => join(FIXTURES, group, name))
  );
}

export function readJson(...path: string[]): unknown {
  return JSON.parse(Deno.readTextFileSync(join(FIXTURES, ...path)));
}

/** Runs `body` with a folder that is gone afterwards. */
export async function inTempDir(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
