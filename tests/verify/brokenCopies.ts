import { fromFileUrl, join } from "@std/path";
import { encodeSafetensors, openSafetensors, type TensorToWrite } from "../../src/formats/safetensors.ts";

export const FIXTURES = fromFileUrl(new URL("../fixtures", import.meta.url));

/** Runs `body` with a copy of a fixture's folder that is gone afterwards. */
export async function withCopy(
  fixture: string,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const { name } of Deno.readDirSync(join(FIXTURES, fixture))) {
      Deno.copyFileSync(join(FIXTURES, fixture, name), join(folder, name));
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes a JSON file of the folder again, with some keys changed. */
export function editJson(path: string, changes: Record<string, unknown>): void {
  Deno.writeTextFileSync(path, JSON.stringify({ ...JSON.parse(Deno.readTextFileSync(path)), ...changes }));
}

/** Writes a safetensors file again, with some tensors changed: new values, another shape, or null to leave it out. */
export async function editTensors(
  path: string,
  changes: Record<string, Partial<Pick<TensorToWrite, "shape">> & { at?: number; value?: number } | null>,
): Promise<void> {
  const tensors: TensorToWrite[] = [];
  {
    using source = openSafetensors(path);
    for (const [name, { dtype, shape }] of source.tensors) {
      const change = changes[name];
      if (change === null) continue;
      const bytes = source.readBytes(name);
      if (change?.value !== undefined) {
        const view = new DataView(bytes.buffer);
        if (dtype === "F32") view.setFloat32(4 * (change.at ?? 0), change.value, true);
        else view.setInt32(4 * (change.at ?? 0), change.value, true);
      }
      tensors.push({ name, dtype, shape: change?.shape ?? shape, values: () => Promise.resolve(bytes) });
    }
  }
  await Deno.writeFile(path, await encodeSafetensors(tensors));
}
