/**
 * Keeps what the tuner has measured in the user's cache folder, a file for each adapter and driver. It may be deleted at
 * any time. Where the folder can't be used, nothing is kept and the next start measures again.
 */
import { dirname, join } from "@std/path";
import { z } from "zod";

export interface TuningCache {
  read(): readonly (readonly [string, string])[];
  write(answers: readonly (readonly [string, string])[]): void;
}

const answersSchema = z.array(z.tuple([z.string(), z.string()]));

/** @param adapterKey names the adapter and its driver */
export function openTuningCache(adapterKey: string): TuningCache {
  const path = cachePath(adapterKey);
  return {
    read() {
      try {
        return path === null ? [] : answersSchema.parse(JSON.parse(Deno.readTextFileSync(path)));
      } catch {
        return []; // none yet, or not ours: measured anew
      }
    },
    write(answers) {
      if (path === null) return;
      try {
        Deno.mkdirSync(dirname(path), { recursive: true });
        const temporary = `${path}.${Deno.pid}`;
        Deno.writeTextFileSync(temporary, JSON.stringify(answers));
        Deno.renameSync(temporary, path); // several processes may tune at the same time
      } catch {
        // a cache that can't be written costs time, nothing else
      }
    },
  };
}

/** null: there is no such folder, or no permission for it. It is not asked for: a library leaves the terminal alone. */
function cachePath(adapterKey: string): string | null {
  const home = variable("XDG_CACHE_HOME") ?? variable("LOCALAPPDATA") ??
    (variable("HOME") && `${variable("HOME")}/.cache`);
  if (!home) return null;
  const folder = join(home, "bloomery");
  if (!isGranted({ name: "read", path: folder }) || !isGranted({ name: "write", path: folder })) return null;
  return join(folder, `${adapterKey.replaceAll(/[^A-Za-z0-9.]+/g, "-")}.json`);
}

function variable(name: string): string | undefined {
  return isGranted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined;
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
