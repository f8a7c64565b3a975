/** Constant tables of the kinds of positions, made on the host in f64. */

/**
 * Cosines and sines for `rotary()` (Su et al. 2021): pair k of a token at place p is turned by p * base^(-2k/D).
 *
 * @param length S, rows: places 0 to S - 1
 * @param rotaryDim D, an even number
 * @returns (S, D): D/2 cosines, then D/2 sines
 */
export function rotaryTable(length: number, rotaryDim: number, base: number): Float32Array<ArrayBuffer> {
  return angleTable(length, rotaryDim, base, Math.cos, Math.sin);
}

/**
 * Sinusoidal positions (Vaswani et al. 2017): sines and cosines of p * 10000^(-2k/C), not interleaved.
 *
 * @param length S, rows: places 0 to S - 1
 * @param modelDim C, an even number
 * @returns (S, C): C/2 sines, then C/2 cosines
 */
export function sinusoidTable(length: number, modelDim: number): Float32Array<ArrayBuffer> {
  return angleTable(length, modelDim, 10000, Math.sin, Math.cos);
}

/** (length, dim): row p has `first`, then `second`, of the angles p * base^(-2k/dim), k < dim/2. */
function angleTable(
  length: number,
  dim: number,
  base: number,
  first: (angle: number) => number,
  second: (angle: number) => number,
): Float32Array<ArrayBuffer> {
  if (dim % 2 !== 0) throw new Error(`A table of angles has ${dim} columns, expected an even number`);
  const half = dim / 2;
  const table = new Float32Array(length * dim);
  for (let k = 0; k < half; k++) {
    const frequency = base ** (-2 * k / dim);
    for (let place = 0; place < length; place++) {
      table[place * dim + k] = first(place * frequency);
      table[place * dim + half + k] = second(place * frequency);
    }
  }
  return table;
}

/**
 * Slopes of ALiBi (Press et al. 2022): 2^(-8h/n), h = 1..n, for a power of two; any other number takes those of the
 * largest power of two p below it, then every other one of those of 2p.
 *
 * @returns (numHeads)
 *
 * @example
 * ```ts
 * alibiSlopes(6); // 1/4, 1/16, 1/64, 1/256, 1/2, 1/8
 * ```
 */
export function alibiSlopes(numHeads: number): Float32Array<ArrayBuffer> {
  const power = 2 ** Math.floor(Math.log2(numHeads));
  return Float32Array.from({ length: numHeads }, (_, head) => {
    return head < power ? 2 ** (-8 * (head + 1) / power) : 2 ** (-4 * (2 * (head - power) + 1) / power);
  });
}

/** How T5 puts distances into buckets. */
export interface DistanceBuckets {
  readonly numBuckets: number;
  /** Distance from which on all share a bucket. */
  readonly maxDistance: number;
  /** Encoder: half of the buckets are for keys after the query. Otherwise such keys count as distance 0. */
  readonly bidirectional: boolean;
}

/**
 * T5's bucket of every distance (Raffel et al. 2020): one by one up to half of a direction's buckets, then in
 * logarithmic steps up to maxDistance.
 *
 * @returns (2 maxDistance + 1): entry i - j + maxDistance is the bucket of query i and key j; |i - j| beyond
 * maxDistance has the bucket of maxDistance
 */
export function distanceBuckets(kind: DistanceBuckets): Uint32Array<ArrayBuffer> {
  const { numBuckets, maxDistance, bidirectional } = kind;
  const perDirection = bidirectional ? numBuckets / 2 : numBuckets;
  const exact = Math.floor(perDirection / 2);
  const bucket = (distance: number) => {
    if (distance < exact) return distance;
    const share = Math.log(distance / exact) / Math.log(maxDistance / exact);
    return Math.min(exact + Math.floor(share * (perDirection - exact)), perDirection - 1);
  };
  return Uint32Array.from({ length: 2 * maxDistance + 1 }, (_, entry) => {
    const ahead = entry - maxDistance; // i - j
    if (ahead >= 0) return bucket(ahead);
    return bidirectional ? perDirection + bucket(-ahead) : 0;
  });
}
