import type { Slice } from "./partition.ts";

/** Tells which slices of an array are whole, while its elements become final range by range, each of them once. */
export class Coverage {
  readonly #slices: readonly Slice[];
  readonly #onWhole: (index: number) => void;
  /** Elements of each slice that are not final yet; -1: it was told of. */
  readonly #missing: number[];

  /** @param slices that don't overlap @param onWhole is told of each slice once */
  constructor(slices: readonly Slice[], onWhole: (index: number) => void) {
    this.#slices = slices;
    this.#onWhole = onWhole;
    this.#missing = slices.map(({ from, to }) => to - from);
  }

  /** Elements [from, to) are final. @throws Error if that is more than a slice lacks */
  add(from: number, to: number): void {
    this.#slices.forEach((slice, index) => {
      const overlap = Math.min(to, slice.to) - Math.max(from, slice.from);
      if (overlap <= 0) return;
      if (overlap > this.#missing[index]) throw new Error(`Elements ${from} to ${to} are final twice`);
      this.#missing[index] -= overlap;
      this.#tell(index);
    });
  }

  /** All elements are final. */
  finish(): void {
    this.#missing.forEach((missing, index) => {
      if (missing >= 0) this.#missing[index] = 0;
      this.#tell(index);
    });
  }

  #tell(index: number): void {
    if (this.#missing[index] !== 0) return;
    this.#missing[index] = -1;
    this.#onWhole(index);
  }
}
