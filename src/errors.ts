/**
 * The two kinds of error that a user meets. Everything else that is thrown is a fault of ours.
 *
 * A message is one line in sentence case without a final period: what was found, what was expected, what to do.
 */

/** A mistake in a config, a file, a flag, or the machine: exit code 1, no stack trace. */
export class UserError extends Error {
  override readonly name = "UserError";
}

/** Nothing is wrong with the run; start it again and it resumes (the device was lost, peers are gone): exit code 75. */
export class RetryError extends Error {
  override readonly name = "RetryError";
}
