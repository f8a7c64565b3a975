import { RetryError, UserError } from "../src/errors.ts";
import { describeOptions, type Flags, type Options, parseFlags } from "./_flags.ts";

/** What a verb is called and takes. */
export interface Verb<O extends Options> {
  readonly name: string;
  readonly summary: string;
  /** What follows `deno task NAME`: `[FILE] [KEY=VALUE...]`. */
  readonly usage: string;
  readonly options: O;
}

/** One use of a verb. */
export interface Call<O extends Options> {
  readonly flags: Flags<O>;
  /** What is neither a flag nor a flag's value. */
  readonly args: readonly string[];
  /** Aborts on the first SIGINT or SIGTERM: save what there is to save, then return. */
  readonly signal: AbortSignal;
  /** Where text for people goes. */
  readonly out: Output;
  /** Prints a line for people. */
  say(line: string): void;
  /** Prints a JSON object on a line of stdout if `--json` was given. */
  emit(record: { readonly [key: string]: unknown }): void;
}

/** A stream of text for people. */
export interface Output {
  write(text: string): void;
  /** Characters in a line of the terminal; null if there is no terminal. */
  columns(): number | null;
}

/** Exit codes, relied on by scripts and schedulers. */
export const Exit = { done: 0, user: 1, fault: 2, retry: 75, interrupted: 130 } as const;
type ExitCode = (typeof Exit)[keyof typeof Exit];

const COMMON_OPTIONS = {
  json: { type: "boolean", help: "one JSON object a line on stdout, text for people on stderr" },
  help: { type: "boolean", help: "this text" },
} as const satisfies Options;

/**
 * Runs a verb and ends the process: 0 done, 1 the user's mistake (one line on stderr), 2 a fault of ours (with its
 * stack), 75 try again, 130 stopped by a signal. A second signal ends it at once.
 *
 * @example
 * ```ts
 * const options = { steps: { type: "number", help: "how many" } } as const;
 * await runVerb({ name: "walk", summary: "Walks.", usage: "[--steps N]", options }, ({ flags, say }) => {
 *   say(`${flags.steps ?? 1} steps`);
 * });
 * ```
 */
export async function runVerb<const O extends Options>(
  verb: Verb<O>,
  main: (call: Call<O>) => Promise<void> | void,
): Promise<never> {
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) Deno.exit(Exit.interrupted);
    controller.abort();
  };
  Deno.addSignalListener("SIGINT", interrupt);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", interrupt);

  const fail = (error: unknown): never => Deno.exit(report(error, controller.signal));
  globalThis.addEventListener("unhandledrejection", (event) => fail(event.reason));
  globalThis.addEventListener("error", (event) => fail(event.error));
  try {
    await call(verb, main, controller.signal);
  } catch (error) {
    fail(error);
  }
  Deno.exit(controller.signal.aborted ? Exit.interrupted : Exit.done);
}

async function call<O extends Options>(
  verb: Verb<O>,
  main: (call: Call<O>) => Promise<void> | void,
  signal: AbortSignal,
): Promise<void> {
  const { flags, args } = parseFlags({ ...verb.options, ...COMMON_OPTIONS }, Deno.args);
  if (flags.help) return write(Deno.stdout, help(verb));
  const stream = flags.json ? Deno.stderr : Deno.stdout;
  await main({
    flags,
    args,
    signal,
    out: { write: (text) => write(stream, text), columns: () => columnsOf(stream) },
    say: (line) => write(stream, line + "\n"),
    emit: (record) => flags.json && write(Deno.stdout, JSON.stringify(record) + "\n"),
  });
}

/** Tells people what went wrong; returns the exit code. */
function report(error: unknown, signal: AbortSignal): ExitCode {
  if (
    signal.aborted && (error === signal.reason || (error instanceof Error && error.name === "AbortError"))
  ) {
    return Exit.interrupted;
  }
  if (error instanceof UserError || error instanceof RetryError) {
    write(Deno.stderr, `${error instanceof UserError ? "error" : "try again"}: ${error.message}\n`);
    return error instanceof UserError ? Exit.user : Exit.retry;
  }
  write(Deno.stderr, `fault of Bloomery, please report it: ${Deno.inspect(error)}\n`);
  return Exit.fault;
}

function help(verb: Verb<Options>): string {
  const options = describeOptions({ ...verb.options, ...COMMON_OPTIONS });
  return `${verb.summary}\n\nUsage: deno task ${verb.name} ${verb.usage}\n\nOptions:\n${options}`;
}

type Stream = typeof Deno.stdout | typeof Deno.stderr;

function write(stream: Stream, text: string): void {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    // whoever read has gone; the work goes on
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

function columnsOf(stream: Stream): number | null {
  return stream.isTerminal() ? Deno.consoleSize().columns : null;
}
