/** Takes a line for people. `news`: what happens to the group, which its coordinator tells, too. */
export type Log = (level: "info" | "warn" | "news", text: string) => void;

/** Lines of a kind in a window of time that are said as they come. */
const AT_ONCE = 3;
const WINDOW_MS = 60_000;
/** That are remembered: strangers' addresses and names are in lines, too. */
const MAX_KINDS = 1024;
/** Lines are of a kind if they differ in these alone. */
const VARYING = /\b([Ss]tep|[Ee]poch) \d+|\bafter [\d.]+ s\b/g;

interface Kind {
  readonly since: number;
  said: number;
  /** The last line that was not said, when it came, and how many there were. */
  held: { readonly say: () => void; readonly at: number } | null;
  numHeld: number;
}

/**
 * A log that a link which comes and goes doesn't flood: of lines of a kind the first few are said, then one a minute, the
 * last, with the number of those before it.
 */
export class SteadyLog {
  readonly #log: Log;
  readonly #kinds = new Map<string, Kind>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param now milliseconds of a clock that never goes back */
  say(level: Parameters<Log>[0], text: string, now: number): void {
    const name = text.replaceAll(VARYING, "$1");
    if (this.#kinds.size >= MAX_KINDS) this.flush();
    const kind = this.#kinds.get(name) ?? { since: now, said: 0, held: null, numHeld: 0 };
    this.#kinds.set(name, kind);
    if (kind.said < AT_ONCE) {
      kind.said++;
      return this.#log(level, text);
    }
    const count = ++kind.numHeld;
    const ending = count === 1 ? "" : ` (the last of ${count} such lines within a minute)`;
    kind.held = { at: now, say: () => this.#log(level, text + ending) };
  }

  /** Says what is due. To be called now and then. */
  tick(now: number): void {
    const over = [...this.#kinds].filter(([, { since }]) => now - since >= WINDOW_MS);
    if (over.length === 0) return;
    // What was held back tells what happened last only if it comes in order.
    if (over.some(([, { held }]) => held !== null)) this.#sayHeld(now);
    for (const [name, kind] of over) {
      if (this.#kinds.get(name) === kind) this.#kinds.delete(name);
    }
  }

  /** Says all that was held back. */
  flush(): void {
    this.#sayHeld(Infinity);
    this.#kinds.clear();
  }

  #sayHeld(now: number): void {
    const held = [...this.#kinds].filter(([, kind]) => kind.held !== null);
    held.sort(([, a], [, b]) => a.held!.at - b.held!.at);
    for (const [name, kind] of held) {
      kind.held!.say();
      this.#kinds.set(name, { since: now, said: AT_ONCE, held: null, numHeld: 0 });
    }
  }
}
