import { splitOf } from "./tree.ts";

/** Writes a virtual worker's values into an array of zeros. */
export type FillWorker = (worker: number, values: Float32Array) => Promise<void>;

/**
 * Sums over subtrees of the tree over virtual workers, worker by worker: the partial sums that wait take lg(share) arrays
 * beside the result, of which none are made before they are needed.
 */
export class SubtreeSum {
  readonly #length: number;
  /** By depth. (length) each */
  readonly #waiting: Float32Array[] = [];

  /** @param length of a worker's values */
  constructor(length: number) {
    this.#length = length;
  }

  /** @param from of a whole subtree, up to `to` @param out gets the sum. (length) */
  async sum(from: number, to: number, out: Float32Array, fill: FillWorker, depth = 0): Promise<void> {
    if (to - from === 1) {
      out.fill(0);
      return await fill(from, out);
    }
    const middle = splitOf(from, to);
    const right = this.#waiting[depth] ??= new Float32Array(this.#length);
    await this.sum(from, middle, out, fill, depth);
    await this.sum(middle, to, right, fill, depth + 1);
    for (let i = 0; i < out.length; i++) out[i] += right[i];
  }
}
