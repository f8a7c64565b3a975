import { forEachLine } from "../src/lines.ts";
import { Exit } from "./_failure.ts";

/** A process that is kept alive. */
export interface Supervised {
  /** What messages call it. */
  readonly name: string;
  /** Asked for each time that it is started. */
  command(): Deno.Command;
  onLine(stream: "stdout" | "stderr", line: string): void;
  /** Takes a line for people. */
  say(line: string): void;
  /** Ends the process by SIGTERM, and with it the supervision. */
  readonly signal: AbortSignal;
  /** Told of each process that was started. */
  readonly onStart?: (child: Deno.ChildProcess) => void;
}

/** One that dies oftener in a minute won't live. */
const STARTS_A_MINUTE = 6;
const PAUSE_MS = 200;

/**
 * Starts a process, and starts it again when it was killed or asks for it (exit code 75), unless it dies at once each
 * time.
 *
 * @returns its exit code for good; 75 if it could not be kept alive
 */
export async function supervise(process: Supervised): Promise<number> {
  const { name, command, say, signal } = process;
  let starts: number[] = [];
  while (true) {
    const status = await run(command(), process);
    const isLost = status.signal !== null || status.code === Exit.retry;
    if (signal.aborted) return isLost ? Exit.interrupted : status.code;
    if (!isLost) return status.code;
    const end = status.signal === null
      ? `ended with exit code ${status.code}`
      : `was ended by ${status.signal}`;
    starts = [...starts.filter((at) => performance.now() - at < 60_000), performance.now()];
    if (starts.length >= STARTS_A_MINUTE) {
      say(`${name} ${end}, ${starts.length} times within a minute: given up`);
      return Exit.retry;
    }
    say(`${name} ${end}; starting it again`);
    await pause(PAUSE_MS, signal);
    if (signal.aborted) return Exit.interrupted;
  }
}

async function run(command: Deno.Command, process: Supervised): Promise<Deno.CommandStatus> {
  const { signal, onLine, onStart } = process;
  const child = command.spawn();
  onStart?.(child);
  const stop = () => kill(child, "SIGTERM");
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const [status] = await Promise.all([
    child.status,
    forEachLine(child.stdout, (line) => onLine("stdout", line)),
    forEachLine(child.stderr, (line) => onLine("stderr", line)),
  ]);
  signal.removeEventListener("abort", stop);
  return status;
}

/** Sends a signal to a process that may have ended. */
export function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
