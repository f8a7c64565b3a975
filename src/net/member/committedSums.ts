/** Sums of the last committed steps, for members that follow: kept while there is one, and only so many. */

const MAX_BYTES = 1 << 30;
const MIN_STEPS = 2;
const MAX_STEPS = 64;
/**
 * Steps for which sums are kept after the last follower's link has ended: who enters an epoch asks once
 * more.
 */
const LINGER_STEPS = 8;

/** How many sums are kept at most. */
export function keptSums(sumLength: number): number {
  const fitting = Math.floor(MAX_BYTES / (4 * sumLength));
  return Math.min(Math.max(fitting, MIN_STEPS), MAX_STEPS);
}

export class CommittedSums {
  readonly #maxSteps: number;
  /** The last step whose sum was applied here. */
  #newest: number;
  #followers = 0;
  /** Without a follower, sums are kept up to this step. */
  #until = 0;
  /** (sumLength), by step */
  readonly #sums = new Map<number, Float32Array>();
  readonly #waiting = new Map<number, PromiseWithResolvers<Float32Array | null>>();

  constructor(sumLength: number, step: number) {
    this.#maxSteps = keptSums(sumLength);
    this.#newest = step;
  }

  /** Somebody follows, until the promise resolves. */
  async follow(until: Promise<unknown>): Promise<void> {
    this.#followers++;
    await until;
    this.#followers--;
    this.#until = this.#newest + LINGER_STEPS;
  }

  /** A step was committed. @param sum is copied if it is to be kept */
  add(step: number, sum: Float32Array): void {
    this.#newest = step;
    if (this.#followers > 0 || step <= this.#until) this.#sums.set(step, sum.slice());
    else this.#sums.clear();
    this.#sums.delete(step - this.#maxSteps);
    this.#waiting.get(step)?.resolve(this.#sums.get(step) ?? null);
    this.#waiting.delete(step);
  }

  /** A step was committed that has no sum: who follows lacks it, and copies. */
  skip(step: number): void {
    this.#newest = step;
    this.#sums.clear();
    this.#waiting.get(step)?.resolve(null);
    this.#waiting.delete(step);
  }

  /** The state is another one, after `step` steps that were not done here. */
  reset(step: number): void {
    this.#newest = step;
    this.#until = 0;
    this.#sums.clear();
  }

  /** The sum of a committed step, which may have yet to be applied here; null: it is not kept. */
  get(step: number): Promise<Float32Array | null> {
    const sum = this.#sums.get(step);
    const isFar = step > this.#newest + this.#maxSteps; // nobody who follows is so far ahead
    if (sum !== undefined || step <= this.#newest || isFar) return Promise.resolve(sum ?? null);
    const waiting = this.#waiting.get(step) ?? Promise.withResolvers<Float32Array | null>();
    this.#waiting.set(step, waiting);
    return waiting.promise;
  }

  /** Whoever waits gets nothing. */
  close(): void {
    for (const { resolve } of this.#waiting.values()) resolve(null);
    this.#waiting.clear();
    this.#sums.clear();
  }
}
