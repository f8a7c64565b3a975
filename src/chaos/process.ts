/** A process that is started again whenever it ends, until it has done what it is for, and may be killed or frozen. */
import { forEachLine } from "../lines.ts";
import { sleep } from "./proxy.ts";

export interface ProcessOptions {
  readonly name: string;
  /** Asked for at each start. */
  readonly command: () => Deno.Command;
  /** Takes a line of stdout; the last one of a process that was killed may have been cut. */
  readonly onLine: (line: string) => void;
  /** The exit codes after which it is started again, as after a signal. */
  readonly retried: readonly number[];
}

const KEPT_LINES = 40;
const PAUSE_MS = 100;

export class KeptProcess {
  readonly name: string;
  /** Resolves with the exit code for good; null: it was ended by `end`. */
  readonly ended: Promise<number | null>;
  /** What it wrote last on stderr, all its lives together. */
  readonly said: string[] = [];
  starts = 0;
  readonly #options: ProcessOptions;
  #child: Deno.ChildProcess | null = null;
  #isFrozen = false;
  #isEnding = false;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.ended = this.#keep();
  }

  get isRunning(): boolean {
    return this.#child !== null && !this.#isFrozen;
  }

  /** @returns whether there was a process to end */
  kill(): boolean {
    return this.#signal("SIGKILL");
  }

  /** Asks it to leave. */
  leave(): boolean {
    return this.#signal("SIGTERM");
  }

  async freeze(ms: number): Promise<void> {
    const child = this.#child;
    if (child === null || !this.#signal("SIGSTOP")) return;
    this.#isFrozen = true;
    await sleep(ms);
    this.#isFrozen = false;
    if (this.#child === child) this.#signal("SIGCONT");
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    this.kill();
    await this.ended;
  }

  async #keep(): Promise<number | null> {
    const { command, onLine, retried } = this.#options;
    while (!this.#isEnding) {
      const child = this.#child = command().spawn();
      this.starts++;
      const [status] = await Promise.all([
        child.status.finally(() => this.#child = null),
        forEachLine(child.stdout, onLine),
        forEachLine(child.stderr, (line) => {
          this.said.push(line);
          if (this.said.length > KEPT_LINES) this.said.shift();
        }),
      ]);
      if (this.#isEnding) break;
      if (status.signal === null && !retried.includes(status.code)) return status.code;
      await sleep(PAUSE_MS);
    }
    return null;
  }

  #signal(signal: Deno.Signal): boolean {
    try {
      this.#child?.kill(signal);
      return this.#child !== null;
    } catch {
      return false; // it has just ended
    }
  }
}
