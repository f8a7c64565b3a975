import type { Runtime } from "../gpu/program.ts";
import type { Partial } from "./layout.ts";
import type { WaitingSums } from "./waitingSums.ts";

/**
 * Adds the gradients of virtual workers along a fixed binary tree, so that the sum does not depend on who computes
 * which share. The tree is a binary counter: level l waits with the sum of 2^l workers for its twin. Workers without
 * samples count as empty sums, so that the tree depends on the workers' numbers alone.
 */
export class GradientTree {
  readonly #runtime: Runtime;
  readonly #running: Partial;
  readonly #waiting: WaitingSums;
  #workers = 0;
  /** What each level holds: a sum, an empty one, or nothing yet. */
  #levels: ("sum" | "empty" | null)[] = [];
  #nextWorker = 0;
  #runningIsEmpty = true;

  /** @param running where virtual workers' gradients are added up */
  constructor(runtime: Runtime, running: Partial, waiting: WaitingSums) {
    this.#runtime = runtime;
    this.#running = running;
    this.#waiting = waiting;
  }

  /** Begins a sum over `workers` workers, numbered from 0: the running sum is 0, the levels hold nothing. */
  begin(workers: number): void {
    this.#waiting.clear();
    this.#levels = Array.from({ length: Math.ceil(Math.log2(workers)) }, () => null);
    this.#workers = workers;
    this.#nextWorker = 0;
    this.#clearRunning();
  }

  /** Puts another sum in the place of this one: nothing is left to be added. */
  replace(): void {
    this.begin(1);
    this.#runningIsEmpty = false;
  }

  /** Says that something was added to the running sum. */
  added(): void {
    this.#runningIsEmpty = false;
  }

  /** Moves the running sum of virtual worker `index` up the tree. @throws Error if it is not the next one's turn */
  async endWorker(index: number): Promise<void> {
    if (index !== this.#nextWorker) {
      throw new Error(`Virtual worker ${index} ends, expected ${this.#nextWorker}: they end in order`);
    }
    const isLast = index === this.#workers - 1;
    if (!isLast && this.#levels.length > 0) await this.#carry();
    this.#nextWorker++;
  }

  /**
   * Ends the last worker, whose gradients are still to come: the caller adds the levels' sums to the running one as
   * these do.
   *
   * @returns the levels that hold a sum, in the order in which they are added
   */
  endLast(index: number): number[] {
    if (index !== this.#nextWorker || index !== this.#workers - 1) {
      throw new Error(
        `Virtual worker ${index} ends the sum, expected ${this.#nextWorker} of ${this.#workers}`,
      );
    }
    this.#nextWorker++;
    const held = this.#levels.flatMap((level, index) => (level === "sum" ? [index] : []));
    this.#levels.fill(null);
    this.#runningIsEmpty = false;
    return held;
  }

  async #carry(): Promise<void> {
    let level = 0;
    let isEmpty = this.#runningIsEmpty;
    for (; this.#levels[level] !== null; level++) isEmpty = await this.#addLevel(level, isEmpty);
    this.#levels[level] = isEmpty ? "empty" : "sum";
    if (isEmpty) return;
    await this.#waiting.put(level);
    this.#clearRunning();
  }

  /** Adds what the levels still hold to the running sum: it then is the sum over all workers. */
  async fold(): Promise<void> {
    for (let level = 0; level < this.#levels.length; level++) {
      if (this.#levels[level] === null) continue;
      this.#runningIsEmpty = await this.#addLevel(level, this.#runningIsEmpty);
    }
    await this.#waiting.settle();
  }

  /** Adds a level's sum to the running one; returns whether the result is still empty. */
  async #addLevel(level: number, runningIsEmpty: boolean): Promise<boolean> {
    const held = this.#levels[level];
    this.#levels[level] = null;
    if (held !== "sum") return runningIsEmpty;
    // An empty running sum is all zeros: adding to it copies.
    await this.#waiting.add(level);
    return false;
  }

  #clearRunning(): void {
    const { gradients, sums } = this.#running;
    this.#runtime.clear(gradients);
    this.#runtime.clear(sums);
    this.#runningIsEmpty = true;
  }
}
