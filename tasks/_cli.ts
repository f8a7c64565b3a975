import { describeFailure, Exit } from "./_failure.ts";
import { type Flags, type Options, parseFlags } from "./_flags.ts";
import { COMMON_OPTIONS, describeVerb, type Verb } from "./_help.ts";
import { openScreen, type Screen } from "./_screen.ts";

/** `deno task` hands a signal on that a whole process group gets, so one Ctrl-C can come twice. */
const SAME_SIGNAL_MS = 1000;

/** Set by a process that starts a verb and keeps the verb's stdin open: its end is that process' end. */
export const LIFELINE = "BLOOMERY_LIFELINE";

/** One use of a verb. */
export interface Call<O extends Options> {
  readonly flags: Flags<O & typeof COMMON_OPTIONS>;
  /** What is neither a flag nor a flag's value. */
  readonly args: readonly string[];
  /** Aborts on the first SIGINT or SIGTERM: save what there is to save, then return. */
  readonly signal: AbortSignal;
  /** Where text for people goes. */
  readonly screen: Screen;
  /** Prints a line for people; the same as `screen.say`. */
  say(line: string): void;
  /** Prints a JSON object on a line of stdout if `--json` was given. */
  emit(record: { readonly [key: string]: unknown }): void;
}

/**
 * Runs a verb and ends the process: 0 done, 1 the user's mistake (one line on stderr), 2 a fault of ours (with its
 * stack), 75 try again, 130 stopped by a signal. With `--json` a failure is the last JSON line of stdout, too,
 * `{ error, exitCode }`, unless a record has said what is wrong (`error`, or `ok: false`). A signal that comes a
 * second or more after the first ends it at once. Where whoever started it has set {@linkcode LIFELINE} and is gone, it
 * ends as on a signal.
 *
 * @example
 * ```ts
 * const options = { steps: { type: "number", help: "how many" } } as const;
 * const verb = { name: "walk", summary: "Walks.", usage: "[--steps N]", operands: {}, options, examples: [] };
 * await runVerb(verb, ({ flags, say }) => say(`${flags.steps ?? 1} steps`));
 * ```
 */
export async function runVerb<const O extends Options>(
  verb: Verb<O>,
  main: (call: Call<O>) => Promise<void> | void,
): Promise<never> {
  const isJson = Deno.args.includes("--json"); // also where another flag can't be understood
  const controller = new AbortController();
  const { signal } = controller;
  let isImpatient = false;
  const interrupt = () => {
    if (isImpatient) Deno.exit(Exit.interrupted);
    if (signal.aborted) return;
    controller.abort();
    Deno.unrefTimer(setTimeout(() => isImpatient = true, SAME_SIGNAL_MS));
  };
  Deno.addSignalListener("SIGINT", interrupt);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", interrupt);
  if (Deno.env.get(LIFELINE) === "stdin") endOf(Deno.stdin).then(interrupt);

  let screen: Screen | null = null;
  let isTold = false; // a record has said what is wrong with what was given
  const emit = (record: { readonly [key: string]: unknown }) => {
    isTold ||= "error" in record || record.ok === false;
    if (isJson) write(Deno.stdout, JSON.stringify(record) + "\n");
  };
  const fail = (thrown: unknown): never => {
    const { text, error, code } = describeFailure(thrown, signal);
    screen?.show("");
    if (text !== "") write(Deno.stderr, text + "\n");
    if (text !== "" && !(isTold && code === Exit.user)) emit({ error, exitCode: code });
    Deno.exit(code);
  };
  globalThis.addEventListener("unhandledrejection", (event) => fail(event.reason));
  globalThis.addEventListener("error", (event) => fail(event.error));
  try {
    const { flags, args } = parseFlags({ ...verb.options, ...COMMON_OPTIONS }, Deno.args);
    if (flags.help) {
      write(Deno.stdout, describeVerb(verb));
    } else {
      const stream = flags.json ? Deno.stderr : Deno.stdout;
      screen = openScreen((text) => write(stream, text), () => columnsOf(stream));
      await main({ flags, args, signal, screen, say: screen.say, emit });
    }
  } catch (error) {
    fail(error);
  }
  Deno.exit(signal.aborted ? Exit.interrupted : Exit.done);
}

/** Resolves at the end of a stream on which nothing is expected. */
async function endOf(stream: typeof Deno.stdin): Promise<void> {
  const rest = new Uint8Array(64);
  while (await stream.read(rest).catch(() => null) !== null);
}

function write(stream: typeof Deno.stdout | typeof Deno.stderr, text: string): void {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    // whoever read has gone; the work goes on
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** null: no terminal; 0: one that doesn't say how wide it is. */
function columnsOf(stream: typeof Deno.stdout | typeof Deno.stderr): number | null {
  return stream.isTerminal() ? Deno.consoleSize().columns : null;
}
