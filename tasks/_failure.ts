import { RetryError, UserError } from "../src/errors.ts";
import { messageOf } from "../src/formats/file.ts";

/** Exit codes, relied on by scripts and schedulers. */
export const Exit = { done: 0, user: 1, fault: 2, retry: 75, interrupted: 130 } as const;
export type ExitCode = (typeof Exit)[keyof typeof Exit];

/** What something that was thrown comes to: text for people, and the exit code. */
export function describeFailure(error: unknown, signal: AbortSignal): { text: string; code: ExitCode } {
  const isAbort = error === signal.reason || (error instanceof Error && error.name === "AbortError");
  if (signal.aborted && isAbort) return { text: "", code: Exit.interrupted };
  if (error instanceof UserError) return { text: `error: ${messageOf(error)}`, code: Exit.user };
  if (error instanceof RetryError) return { text: `try again: ${messageOf(error)}`, code: Exit.retry };
  if (error instanceof Deno.errors.NotCapable) return { text: `error: ${messageOf(error)}`, code: Exit.user };
  const refused = refusedPath(error);
  if (refused !== null) {
    const { path, reason } = refused;
    return {
      text: `error: Cannot use ${path}: ${reason}; check the path and its permissions`,
      code: Exit.user,
    };
  }
  return { text: `fault of Bloomery, please report it: ${Deno.inspect(error)}`, code: Exit.fault };
}

/** The file that the operating system refused, and why; null: that is not what happened. */
function refusedPath(error: unknown): { path: string; reason: string } | null {
  if (!(error instanceof Error)) return null;
  const found = /^(.*) \(os error \d+\): \w+ '(.*?)'/.exec(error.message);
  return found === null ? null : { reason: found[1], path: found[2] };
}
