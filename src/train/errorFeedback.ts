import { EXACT_VALUES, roundToBf16 } from "./bf16.ts";

/** The residual, and as a step under way makes it. */
export function feedbackBytes(sumLength: number): number {
  return 2 * Float32Array.BYTES_PER_ELEMENT * (sumLength - EXACT_VALUES);
}

/**
 * What this node's gradients have lost by rounding, which it adds to those of its next step (error feedback: Seide et
 * al. 2014). It belongs to the node: another one that copies its state begins without.
 */
export class ErrorFeedback {
  /** (sumLength - EXACT_VALUES) */
  readonly #residual: Float32Array<ArrayBuffer>;
  /** What it is after the step under way, if there is one. */
  readonly #next: Float32Array<ArrayBuffer>;
  #isUnderWay = false;

  /** @param sumLength values of a step's sum, the exact ones at its end included */
  constructor(sumLength: number) {
    this.#residual = new Float32Array(sumLength - EXACT_VALUES);
    this.#next = new Float32Array(this.#residual.length);
  }

  get residual(): Float32Array<ArrayBuffer> {
    return this.#residual;
  }

  /** Begins a step, or begins it anew. */
  begin(): void {
    this.#next.set(this.#residual);
    this.#isUnderWay = true;
  }

  /**
   * Adds to a piece of the step's sum what was lost before, and rounds it: values [from, to) of it, each once.
   *
   * @param piece (sumLength)
   */
  round(piece: Float32Array, from = 0, to = piece.length): void {
    const lost = this.#next;
    if (!this.#isUnderWay) throw new Error("A piece is rounded before a step has begun");
    const end = Math.min(to, lost.length);
    for (let i = from; i < end; i++) lost[i] = piece[i] += lost[i];
    roundToBf16(piece.subarray(from, Math.max(from, end)));
    for (let i = from; i < end; i++) lost[i] -= piece[i];
  }

  /** The step was applied, if there is one. */
  commit(): void {
    if (this.#isUnderWay) this.#residual.set(this.#next);
    this.#isUnderWay = false;
  }

  /** The step was not applied: what is left is what was before it. */
  discard(): void {
    this.#isUnderWay = false;
  }

  /** Begins with what a checkpoint has kept, or with nothing. */
  reset(residual?: Float32Array): void {
    if (residual !== undefined && residual.length !== this.#residual.length) {
      throw new Error(`A residual of ${residual.length} values, expected ${this.#residual.length}`);
    }
    this.#isUnderWay = false;
    if (residual === undefined) this.#residual.fill(0);
    else this.#residual.set(residual);
  }
}
