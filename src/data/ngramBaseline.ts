/**
 * Count models as a baseline: bits per byte of a held-out text under byte models of several orders, where a model of
 * order k predicts a byte from the k bytes before it.
 *
 * Smoothing is Witten and Bell's (1991, method C) interpolation, which has no parameter to set: with n the count of
 * the byte after the context, N the context's count and u the number of different bytes seen after it,
 * p_k = (n + u p_(k-1)) / (N + u), down to p_(-1) = 1/256; a context never seen leaves p_(k-1) as it is.
 */

/** Bits per byte of `heldOut` under models that were counted on `train`, one for each order (at most 5). */
export function ngramBitsPerByte(
  train: Uint8Array,
  heldOut: Uint8Array,
  orders: readonly number[],
): number[] {
  const highest = Math.max(...orders);
  const contexts = Array.from({ length: highest + 1 }, () => new CountTable()); // N
  const kinds = Array.from({ length: highest + 1 }, () => new CountTable()); // u
  const grams = Array.from({ length: highest + 1 }, () => new CountTable()); // n
  for (let i = 0; i < train.length; i++) {
    let context = 0; // the last `order` bytes as a number
    for (let order = 0; order <= highest && order <= i; order++) {
      if (order > 0) context += train[i - order] * 256 ** (order - 1);
      contexts[order].add(context);
      if (grams[order].add(context * 256 + train[i]) === 1) kinds[order].add(context);
    }
  }

  const bits = new Float64Array(highest + 1); // (highest + 1) sums
  for (let i = 0; i < heldOut.length; i++) {
    let context = 0;
    let probability = 1 / 256;
    for (let order = 0; order <= highest; order++) {
      if (order > 0) context += byteBefore(i, order) * 256 ** (order - 1);
      const total = contexts[order].get(context);
      if (total > 0) {
        const different = kinds[order].get(context);
        const count = grams[order].get(context * 256 + heldOut[i]);
        probability = (count + different * probability) / (total + different);
      }
      bits[order] -= Math.log2(probability);
    }
  }
  return orders.map((order) => bits[order] / heldOut.length);

  /** The held-out text goes on where the training text ends. */
  function byteBefore(i: number, distance: number): number {
    return i >= distance ? heldOut[i - distance] : train[train.length + i - distance] ?? 0;
  }
}

/** Counts of numbers below 2^53: open addressing with linear probing in typed arrays, several times as fast as a Map. */
class CountTable {
  #keys = new Float64Array(1024); // (capacity, a power of 2)
  #counts = new Uint32Array(1024); // (capacity) 0: free
  #used = 0;

  /** Counts a key, and gives its new count. */
  add(key: number): number {
    const slot = this.#slot(key);
    if (this.#counts[slot] === 0) {
      this.#keys[slot] = key;
      if (++this.#used > this.#keys.length / 2) {
        this.#counts[slot] = 1;
        this.#grow();
        return 1;
      }
    }
    return ++this.#counts[slot];
  }

  get(key: number): number {
    return this.#counts[this.#slot(key)];
  }

  /** Where the key is, or would be. */
  #slot(key: number): number {
    const mask = this.#keys.length - 1;
    let hash = Math.imul(key | 0, 0x9e3779b1) ^ Math.imul((key / 2 ** 32) | 0, 0x85ebca6b);
    hash ^= hash >>> 15;
    let slot = hash & mask;
    while (this.#counts[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const [keys, counts] = [this.#keys, this.#counts];
    this.#keys = new Float64Array(2 * keys.length);
    this.#counts = new Uint32Array(2 * counts.length);
    for (let i = 0; i < keys.length; i++) {
      if (counts[i] === 0) continue;
      const slot = this.#slot(keys[i]);
      this.#keys[slot] = keys[i];
      this.#counts[slot] = counts[i];
    }
  }
}
