/**
 * Bounds how much work waits in the GPU's queue: what is queued can't be interrupted, and a stop must be quick. The rate
 * is measured at each wait, since it differs by five orders of magnitude between adapters.
 */
export class QueueLimit {
  readonly #idle: () => Promise<void>;
  readonly #seconds: number;
  #flopsPerSecond = 0;
  #queued = 0;
  #since = 0;

  /** @param idle waits until the queue is empty @param seconds of work that may wait */
  constructor(idle: () => Promise<void>, seconds: number) {
    this.#idle = idle;
    this.#seconds = seconds;
  }

  /** Says that work was queued; waits if it is too much. */
  async add(flops: number): Promise<void> {
    if (this.#queued === 0) this.#since = performance.now();
    this.#queued += flops;
    if (this.#queued < this.#flopsPerSecond * this.#seconds) return;
    await this.#idle();
    this.#flopsPerSecond = this.#queued / Math.max((performance.now() - this.#since) / 1000, 1e-6);
    this.#queued = 0;
  }

  /** Says that the queue is empty. */
  emptied(): void {
    this.#queued = 0;
  }
}
