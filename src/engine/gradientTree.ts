import type { Program, Runtime } from "../gpu/program.ts";
import type { Partial } from "./layout.ts";

/**
 * Adds the gradients of virtual workers along a fixed binary tree, so that the sum does not depend on who computes
 * which share. The tree is a binary counter: level l waits with the sum of 2^l workers for its twin. Workers without
 * samples count as empty sums, so that the tree depends on the workers' numbers alone.
 */
export class GradientTree {
  readonly #runtime: Runtime;
  /** The running sum, then those of the levels. */
  readonly #partials: readonly Partial[];
  /** For each level: adds its sum to the running one. */
  readonly #additions: readonly Program[];
  #workers = 0;
  /** What each level holds: a sum, an empty one, or nothing yet. */
  #levels: ("sum" | "empty" | null)[] = [];
  #nextWorker = 0;
  #runningIsEmpty = true;

  constructor(
    runtime: Runtime,
    partials: readonly Partial[],
    additions: readonly Program[],
  ) {
    this.#runtime = runtime;
    this.#partials = partials;
    this.#additions = additions;
  }

  /** Begins a sum over `workers` workers, numbered from 0: the running sum is 0, the levels hold nothing. */
  begin(workers: number): void {
    this.#levels = this.#additions.map(() => null);
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
  endWorker(index: number): void {
    if (index !== this.#nextWorker) {
      throw new Error(`Virtual worker ${index} ends, expected ${this.#nextWorker}: they end in order`);
    }
    const isLast = index === this.#workers - 1;
    if (!isLast && this.#levels.length > 0) this.#carry();
    this.#nextWorker++;
  }

  #carry(): void {
    let level = 0;
    let isEmpty = this.#runningIsEmpty;
    for (; this.#levels[level] !== null; level++) isEmpty = this.#addLevel(level, isEmpty);
    this.#levels[level] = isEmpty ? "empty" : "sum";
    if (isEmpty) return;
    const [running, ...levels] = this.#partials;
    this.#runtime.copy(running.gradients, levels[level].gradients);
    this.#runtime.copy(running.sums, levels[level].sums);
    this.#clearRunning();
  }

  /** Adds what the levels still hold to the running sum: it then is the sum over all workers. */
  fold(): void {
    for (let level = 0; level < this.#levels.length; level++) {
      if (this.#levels[level] !== null) this.#runningIsEmpty = this.#addLevel(level, this.#runningIsEmpty);
    }
  }

  /** Adds a level's sum to the running one; returns whether the result is still empty. */
  #addLevel(level: number, runningIsEmpty: boolean): boolean {
    const held = this.#levels[level];
    this.#levels[level] = null;
    if (held !== "sum") return runningIsEmpty;
    // An empty running sum is all zeros: adding to it copies.
    this.#runtime.run(this.#additions[level]);
    return false;
  }

  #clearRunning(): void {
    const [{ gradients, sums }] = this.#partials;
    this.#runtime.clear(gradients);
    this.#runtime.clear(sums);
    this.#runningIsEmpty = true;
  }
}
