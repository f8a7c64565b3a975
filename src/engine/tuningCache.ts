/**
 * Keeps what the tuner has measured in the user's cache folder, a file for each adapter and driver. It may be deleted at
 * any time. Where the folder can't be used, nothing is kept and the next start measures again.
 */
import { dirname, join } from "@std/path";
import { z } from "zod";

/** Questions, and the variants that were measured to be best. */
type Answers = readonly (readonly [question: string, variant: string])[];

export interface TuningCache {
  read(): Answers;
  /** Adds answers to those that are there by now: other processes tune at the same time. */
  merge(answers: Answers): void;
}

const answersSchema = z.array(z.tuple([z.string(), z.string()]));

/**
 * @param adapterKey names the adapter and its driver
 * @param folder null: nothing is kept
 */
export function openTuningCache(adapterKey: string, folder = userFolder()): TuningCache {
  const path = folder && join(folder, `${adapterKey.replaceAll(/[^A-Za-z0-9.]+/g, "-")}.json`);
  function read(): Answers {
    try {
      return path === null ? [] : answersSchema.parse(JSON.parse(Deno.readTextFileSync(path)));
    } catch {
      return []; // none yet, or not ours: measured anew
    }
  }
  function merge(answers: Answers): void {
    if (path === null) return;
    try {
      Deno.mkdirSync(dirname(path), { recursive: true });
      using lock = Deno.openSync(`${path}.lock`, { write: true, create: true });
      lock.lockSync(true); // until it is closed
      const temporary = `${path}.new`;
      Deno.writeTextFileSync(temporary, JSON.stringify([...new Map([...read(), ...answers])]));
      Deno.renameSync(temporary, path); // readers don't lock
    } catch {
      // a cache that can't be written costs time, nothing else
    }
  }
  return { read, merge };
}

/** null: there is no such folder, or no permission for it. It is not asked for: a library leaves the terminal alone. */
function userFolder(): string | null {
  const home = variable("XDG_CACHE_HOME") ?? variable("LOCALAPPDATA") ??
    (variable("HOME") && `${variable("HOME")}/.cache`);
  if (!home) return null;
  const folder = join(home, "bloomery");
  const isOurs = isGranted({ name: "read", path: folder }) && isGranted({ name: "write", path: folder });
  return isOurs ? folder : null;
}

function variable(name: string): string | undefined {
  return isGranted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined;
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
