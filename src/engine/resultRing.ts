import type { Runtime } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { RING_FIELDS, RING_SLOTS } from "../ops/optimizer.ts";
import type { StepResult } from "./engine.ts";

/** Results of updates wait in a ring on the GPU, so that many are read with one wait. */
export class ResultRing {
  readonly #runtime: Runtime;
  readonly #ring: Tensor; // (RING_SLOTS, RING_FIELDS)
  /** Steps whose results the ring holds. */
  #pending: number[] = [];
  #collected: StepResult[] = [];
  #slot = 0;

  constructor(runtime: Runtime, ring: Tensor) {
    this.#runtime = runtime;
    this.#ring = ring;
  }

  /** Where the next update's results go. */
  get slot(): number {
    return this.#slot;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  get isFull(): boolean {
    return this.#pending.length === RING_SLOTS;
  }

  /** Says that the update of a step was queued. */
  push(step: number): void {
    this.#pending.push(step);
    this.#slot = (this.#slot + 1) % RING_SLOTS;
  }

  /** Empties the ring into the host's memory. Waits for the queue. */
  async collect(): Promise<void> {
    const values = await this.#runtime.read(this.#ring.whole());
    const first = this.#slot - this.#pending.length + RING_SLOTS;
    this.#pending.forEach((step, i) => {
      const at = ((first + i) % RING_SLOTS) * RING_FIELDS;
      const [, lossSum, zSum, targetCount, gradNorm, halt] = values.subarray(at, at + RING_FIELDS);
      this.#collected.push({ step, lossSum, zSum, targetCount, gradNorm, halted: halt !== 0 });
    });
    this.#pending = [];
  }

  /** What was collected since the last call, in order. */
  take(): StepResult[] {
    const results = this.#collected;
    this.#collected = [];
    return results;
  }
}
