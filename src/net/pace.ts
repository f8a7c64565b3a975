/** How fast a member does its steps, for heartbeats. */
export class Pace {
  #last = performance.now();
  #tokensPerSecond = 0;
  #exposedShare = 0;
  #stepMs = 0;

  get tokensPerSecond(): number {
    return this.#tokensPerSecond;
  }

  /** The time of the last step. */
  get stepMs(): number {
    return this.#stepMs;
  }

  /** The part of the last step in which nothing but the exchange went on, the coordinator's word included. */
  get exposedShare(): number {
    return this.#exposedShare;
  }

  /** Steps begin anew, after a time in which none were done. */
  restart(): void {
    this.#last = performance.now();
  }

  /** A step is done. @param exposedMs of it, nothing but the exchange went on */
  step(tokens: number, exposedMs: number): void {
    const now = performance.now();
    const stepMs = Math.max(now - this.#last, Number.EPSILON);
    this.#last = now;
    this.#stepMs = stepMs;
    this.#tokensPerSecond = 1000 * tokens / stepMs;
    this.#exposedShare = Math.min(exposedMs / stepMs, 1);
  }
}
