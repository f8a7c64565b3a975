import { resolveRun } from "../src/api/settings.ts";
import { readConfigFile } from "../src/config/load.ts";
import type { RunConfig } from "../src/config/schema.ts";
import { UserError } from "../src/errors.ts";

/** Where a run of a name lies. @param runs the folder of all runs, if it is not the default one */
export function runFolder(runs: string | undefined, name: string): string {
  return `${runs ?? "runs"}/${name}`;
}

/**
 * The run that `[CONFIG.jsonc] [KEY=VALUE...]` means.
 *
 * @param folderOf where the run of a name is kept; null: nowhere
 * @throws UserError for mistakes in them
 */
export async function readRunConfig(
  args: readonly string[],
  folderOf: (name: string) => string | null,
): Promise<RunConfig> {
  const overrides = args.filter((arg) => arg.includes("="));
  const files = args.filter((arg) => !arg.includes("="));
  if (files.length > 1) {
    throw new UserError(`Found ${files.length} config files (${files.join(", ")}), expected one`);
  }
  const file = files[0] === undefined ? undefined : await readConfigFile(files[0]);
  return await resolveRun({ file, overrides }, folderOf);
}
