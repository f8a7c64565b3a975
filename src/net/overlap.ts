/** In how many parts a member's sum leaves while backward goes on: measured, in the first steps of every epoch. */

/** One after the other; each part costs a stop of the GPU. */
const TRIALS = [1, 2, 4, 8];
/** Of each number of parts; the first step of an epoch is not counted. */
const STEPS_A_TRIAL = 3;
/** Below this there is nothing to gain. */
const EXPOSED_SHARE = 0.02;
/** What more parts must save to be taken. */
const GAIN = 0.02;

/**
 * Tries numbers of parts and keeps the one whose steps took the least time, by their median: all members try the same
 * ones at the same steps, since they begin an epoch together. What is tried changes no bit.
 */
export class Overlap {
  #times: number[] = [];
  #trial = 0;
  #isWarm = false;
  #best = { parts: TRIALS[0], stepMs: Infinity };

  /** For the next step. */
  get parts(): number {
    return TRIALS[this.#trial] ?? this.#best.parts;
  }

  /** An epoch begins. */
  restart(): void {
    this.#times = [];
    this.#trial = 0;
    this.#isWarm = false;
    this.#best = { parts: TRIALS[0], stepMs: Infinity };
  }

  /** A step was done in `parts`. @param exposedShare of it, nothing but the exchange went on */
  step(stepMs: number, exposedShare: number): void {
    if (!this.#isWarm) {
      this.#isWarm = true;
      return;
    }
    if (this.#trial === TRIALS.length || this.#times.push(stepMs) < STEPS_A_TRIAL) return;
    const median = this.#times.toSorted((a, b) => a - b)[STEPS_A_TRIAL >> 1];
    const isBetter = median < (1 - GAIN) * this.#best.stepMs;
    if (isBetter) this.#best = { parts: this.parts, stepMs: median };
    const goesOn = isBetter && exposedShare > EXPOSED_SHARE;
    this.#trial = goesOn ? this.#trial + 1 : TRIALS.length;
    this.#times = [];
  }
}
