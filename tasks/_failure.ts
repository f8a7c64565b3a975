import { RetryError, UserError } from "../src/errors.ts";
import { messageOf } from "../src/formats/file.ts";

/** Exit codes, relied on by scripts and schedulers. */
export const Exit = { done: 0, user: 1, fault: 2, retry: 75, interrupted: 130 } as const;
export type ExitCode = (typeof Exit)[keyof typeof Exit];

/** What something that was thrown comes to. */
export interface Failure {
  /** For people; a fault of ours with its stack. */
  readonly text: string;
  /** The same for programs: what it is, without what kind of failure that makes. */
  readonly error: string;
  readonly code: ExitCode;
}

export function describeFailure(error: unknown, signal: AbortSignal): Failure {
  const isAbort = error === signal.reason || (error instanceof Error && error.name === "AbortError");
  if (signal.aborted && isAbort) return { text: "", error: "", code: Exit.interrupted };
  const failure = (kind: string, error: string, code: ExitCode) => ({
    text: `${kind}: ${error}`,
    error,
    code,
  });
  if (error instanceof UserError) return failure("error", messageOf(error), Exit.user);
  if (error instanceof RetryError) return failure("try again", messageOf(error), Exit.retry);
  if (error instanceof Deno.errors.NotCapable) return failure("error", messageOf(error), Exit.user);
  const refused = refusedPath(error);
  if (refused !== null) {
    const { path, reason } = refused;
    return failure(
      "error",
      `Cannot use ${path}: ${reason}; check the path and its permissions`,
      Exit.user,
    );
  }
  return failure("fault of Bloomery, please report it", Deno.inspect(error), Exit.fault);
}

/** The file that the operating system refused, and why; null: that is not what happened. */
function refusedPath(error: unknown): { path: string; reason: string } | null {
  if (!(error instanceof Error)) return null;
  const found = /^(.*) \(os error \d+\): \w+ '(.*?)'/.exec(error.message);
  return found === null ? null : { reason: found[1], path: found[2] };
}
