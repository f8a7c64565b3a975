/** Lets `burst` events through at once and `perSecond` in the long run. `now` is in milliseconds. */
export class TokenBucket {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #left: number;
  #at: number;

  constructor(burst: number, perSecond: number, now = () => performance.now()) {
    this.#burst = this.#left = burst;
    this.#perSecond = perSecond;
    this.#now = now;
    this.#at = now();
  }

  /** How many events may happen now. */
  get left(): number {
    const now = this.#now();
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) / 1000 * this.#perSecond);
    this.#at = now;
    return Math.floor(this.#left);
  }

  /** Counts an event; false: it is one too many. */
  take(): boolean {
    if (this.left < 1) return false;
    this.#left--;
    return true;
  }
}
