import { breathe } from "../gpu/signal.ts";

/** Work whose rate is measured first: a tenth of a second on two cores, nothing on a GPU. */
const FIRST_FLOPS = 1e9;

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

  /** Floating-point operations that may be queued at once. */
  get portion(): number {
    return this.#flopsPerSecond === 0 ? FIRST_FLOPS : this.#flopsPerSecond * this.#seconds / 2;
  }

  /**
   * Says that work was queued; waits if it is too much.
   *
   * @throws the signal's reason, if it has come by the end of a wait
   */
  async add(flops: number, signal?: AbortSignal): Promise<void> {
    if (this.#queued === 0) this.#since = performance.now();
    this.#queued += flops;
    if (this.#queued < this.#flopsPerSecond * this.#seconds) return;
    await this.#idle();
    this.#flopsPerSecond = this.#queued / Math.max((performance.now() - this.#since) / 1000, 1e-6);
    this.#queued = 0;
    await breathe(signal);
  }

  /** Says that the queue is empty. */
  emptied(): void {
    this.#queued = 0;
  }
}
