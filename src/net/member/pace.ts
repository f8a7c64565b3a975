/** How fast a member does its steps, for heartbeats. */
export class Pace {
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

  /** A step is done. @param exposedMs of its time, nothing but the exchange went on */
  step(tokens: number, stepMs: number, exposedMs: number): void {
    this.#stepMs = Math.max(stepMs, Number.EPSILON);
    this.#tokensPerSecond = 1000 * tokens / this.#stepMs;
    this.#exposedShare = Math.min(exposedMs / this.#stepMs, 1);
  }
}
