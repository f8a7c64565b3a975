import { resolveRun } from "../src/api/settings.ts";
import { readConfigFile } from "../src/config/load.ts";
import type { RunConfig } from "../src/config/schema.ts";
import { UserError } from "../src/errors.ts";

/** The run that `[CONFIG.jsonc] [KEY=VALUE...]` means. @throws UserError for mistakes in them */
export async function readRunConfig(args: readonly string[]): Promise<RunConfig> {
  const overrides = args.filter((arg) => arg.includes("="));
  const files = args.filter((arg) => !arg.includes("="));
  if (files.length > 1) {
    throw new UserError(`Found ${files.length} config files (${files.join(", ")}), expected one`);
  }
  const file = files[0] === undefined ? undefined : await readConfigFile(files[0]);
  return await resolveRun({ file, overrides });
}
