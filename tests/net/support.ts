/** What the tests of the allreduce share: random numbers, hard vectors, the single node's order of addition. */

/** Numbers in [0, 1), the same for the same seed. */
export function randomOf(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values whose sum shows its order: of all magnitudes, cancelling, subnormal, zeros of both signs. */
export function hardVector(length: number, seed: number): Float32Array<ArrayBuffer> {
  const next = randomOf(seed);
  const kinds = [
    () => next() - 0.5,
    () => (next() - 0.5) * 2 ** Math.floor(next() * 60 - 30),
    () => (next() < 0.5 ? 1 : -1) * 2 ** 24,
    () => (next() - 0.5) * 2 ** -135,
    () => (next() - 0.5) * 2 ** 120,
    () => next() < 0.5 ? 0 : -0,
  ];
  // Neighbours share a magnitude across vectors, so that they meet their like.
  return Float32Array.from({ length }, (_, i) => kinds[(i + (next() < 0.1 ? 1 : 0)) % kinds.length]());
}

/** The sum in the order of `engine/gradientTree.ts`: a binary counter whose level l waits with 2^l workers. */
export function counterTreeSum(workers: readonly Float32Array[]): Float32Array {
  const add = (a: Float32Array, b: Float32Array) => {
    const sum = new Float32Array(a.length);
    for (let i = 0; i < sum.length; i++) sum[i] = a[i] + b[i];
    return sum;
  };
  const levels: (Float32Array | null)[] = [];
  let running = workers[workers.length - 1];
  for (const worker of workers.slice(0, -1)) {
    let carried = worker;
    let level = 0;
    for (let held = levels[0]; held; held = levels[++level]) {
      carried = add(held, carried);
      levels[level] = null;
    }
    levels[level] = carried;
  }
  for (const held of levels) if (held) running = add(held, running);
  return running;
}

/** The bits of each element, so that -0 and NaN compare. */
export function bits(vector: Float32Array): number[] {
  return [...new Uint32Array(vector.slice().buffer)];
}

export function sameBits(a: Float32Array, b: Float32Array): boolean {
  const [x, y] = [a, b].map((each) => new Uint32Array(each.slice().buffer));
  return x.length === y.length && x.every((word, i) => word === y[i]);
}
