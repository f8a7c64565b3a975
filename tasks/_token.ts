import { UserError } from "../src/errors.ts";
import { messageOf } from "../src/formats/file.ts";
import { importToken } from "../src/net/link/auth.ts";
import type { Option } from "./_flags.ts";
import { quoteForShell } from "./_shell.ts";

const VARIABLE = "BLOOMERY_TOKEN";

/** A token is never an argument: everybody on a machine can see those. */
export const TOKEN_OPTION = {
  type: "string",
  value: "FILE",
  help: `the group's secret, the same on all nodes (default: the variable ${VARIABLE})`,
} as const satisfies Option;

/**
 * The group's token, from a file or else from the environment.
 *
 * @throws UserError if there is none, or if it can't be read or is too short
 */
export async function readToken(
  file: string | undefined,
  say: (line: string) => void,
): Promise<CryptoKey> {
  const text = file === undefined
    ? Deno.env.get(VARIABLE) || undefined
    : await readSecret(file, howToMake(file), say);
  if (text !== undefined) return await importToken(text);
  throw new UserError(
    `Found no token, expected --token-file FILE or the variable ${VARIABLE}; ${howToMake("FILE")}`,
  );
}

/**
 * Reads a file that is for its owner's eyes, and warns where others can read it too.
 *
 * @param advice what to do where there is no such file
 */
export async function readSecret(
  path: string,
  advice: string,
  say: (line: string) => void,
): Promise<string> {
  try {
    const text = await Deno.readTextFile(path);
    const { mode } = await Deno.stat(path);
    if (mode !== null && (mode & 0o077) !== 0) {
      say(`warning: others may read the secret in ${path}; do: chmod 600 ${quoteForShell(path)}`);
    }
    return text;
  } catch (error) {
    const hint = error instanceof Deno.errors.NotFound ? advice : "check the path and its permissions";
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}; ${hint}`);
  }
}

function howToMake(path: string): string {
  return `make one with: (umask 077; openssl rand -hex 32 > ${quoteForShell(path)})`;
}
