/** How long something took that is done in several goes. */
export class Stopwatch {
  readonly #now: () => number;
  #elapsed = 0;
  /** When it was started; null: it stands still. */
  #since: number | null = null;

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Milliseconds since the last lap in which it ran. */
  get elapsed(): number {
    return this.#elapsed + (this.#since === null ? 0 : this.#now() - this.#since);
  }

  /** Runs, if it doesn't already. */
  start(): void {
    this.#since ??= this.#now();
  }

  stop(): void {
    this.#elapsed = this.elapsed;
    this.#since = null;
  }

  /** Stops, and begins anew from 0. @returns what had elapsed */
  lap(): number {
    this.stop();
    const { elapsed } = this;
    this.#elapsed = 0;
    return elapsed;
  }
}
