/** In how many parts a member's sum leaves while backward goes on: measured, in the first steps of every epoch. */

/** With which an epoch begins; each part costs a stop of the GPU. */
const FIRST = 2;
const MOST = 8;
/** Of each number of parts; the first step of an epoch is not counted. */
const STEPS_A_TRIAL = 3;
/** Below this there is nothing to gain. */
const EXPOSED_SHARE = 0.02;
/** What another number must save to be taken. */
const GAIN = 0.02;

/**
 * Tries more parts for as long as that saves time, or one where it doesn't, and keeps the number whose steps took the
 * least, by their median: all members try the same ones at the same steps, since they begin an epoch together. What is
 * tried changes no bit.
 */
export class Overlap {
  #parts = FIRST;
  /** Of the trial under way; null: there is none. */
  #times: number[] | null = [];
  #isWarm = false;
  #best = { parts: FIRST, stepMs: Infinity };

  /** For the next step. */
  get parts(): number {
    return this.#parts;
  }

  /** An epoch begins. */
  restart(): void {
    this.#parts = FIRST;
    this.#times = [];
    this.#isWarm = false;
    this.#best = { parts: FIRST, stepMs: Infinity };
  }

  /** A step was done in `parts`. @param exposedShare of it, nothing but the exchange went on */
  step(stepMs: number, exposedShare: number): void {
    if (!this.#isWarm) {
      this.#isWarm = true;
      return;
    }
    if (this.#times === null || this.#times.push(stepMs) < STEPS_A_TRIAL) return;
    const median = this.#times.toSorted((a, b) => a - b)[STEPS_A_TRIAL >> 1];
    const isBetter = median < (1 - GAIN) * this.#best.stepMs;
    if (isBetter) this.#best = { parts: this.#parts, stepMs: median };
    const next = this.#next(isBetter && exposedShare > EXPOSED_SHARE);
    this.#times = next === null ? null : [];
    this.#parts = next ?? this.#best.parts;
  }

  #next(wantsMore: boolean): number | null {
    if (this.#parts === 1 || this.#parts === MOST) return null;
    if (wantsMore) return 2 * this.#parts;
    return this.#best.parts === FIRST ? 1 : null;
  }
}
