/**
 * Counter-based random numbers: a value is a function of its key and counter alone, so it is the same for any
 * batch split, node count or resume. Threefry-2x32-20 (Salmon et al. 2011, "Parallel random numbers: as easy as
 * 1, 2, 3"); shaders/random.wgsl is the same function on the GPU.
 */

const PARITY = 0x1bd11bda;
const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]] as const;

/** Two random u32 for a key and a counter of two u32 each. */
export function threefry2x32(
  key0: number,
  key1: number,
  counter0: number,
  counter1: number,
): [number, number] {
  const keys = [key0 | 0, key1 | 0, PARITY ^ key0 ^ key1];
  let x0 = (counter0 + keys[0]) | 0;
  let x1 = (counter1 + keys[1]) | 0;
  for (let group = 0; group < 5; group++) {
    for (const rotation of ROTATIONS[group & 1]) {
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0;
    }
    x0 = (x0 + keys[(group + 1) % 3]) | 0;
    x1 = (x1 + keys[(group + 2) % 3] + group + 1) | 0;
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** What a stream of random numbers is for; keeps streams with the same seed apart. */
export const Stream = { init: 1, shuffle: 2, sample: 3, test: 4, objective: 5 } as const;
export type Stream = (typeof Stream)[keyof typeof Stream];

/** A uniform number in [0, 1) with 32 random bits: number `index` of substream `sub` of a stream. */
export function uniform(seed: number, stream: Stream, sub: number, index: number): number {
  return threefry2x32(seed, stream, index, sub)[0] / 2 ** 32;
}

/**
 * Draws whole numbers in [0, below), one after the other: the i-th is a function of (seed, stream, index, i) alone.
 *
 * @param index below 2^53
 */
export function drawer(seed: number, stream: Stream, index: number): (below: number) => number {
  const key = threefry2x32(seed, stream, index % 2 ** 32, Math.floor(index / 2 ** 32));
  let count = 0;
  return (below) => Math.floor(threefry2x32(...key, count++, 0)[0] / 2 ** 32 * below);
}

/** `count` numbers from N(0, std) by Box and Muller: a function of (seed, stream, sub) alone. */
export function normals(
  count: number,
  std: number,
  seed: number,
  stream: Stream,
  sub: number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count); // (count)
  for (let i = 0; i < count; i += 2) {
    const [a, b] = threefry2x32(seed, stream, i / 2, sub);
    const radius = std * Math.sqrt(-2 * Math.log((a + 1) / 2 ** 32));
    const angle = 2 * Math.PI * (b / 2 ** 32);
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/** Where a dropout happens: a number for each place in the model. */
export interface DropoutSite {
  readonly seed: number;
  readonly step: number;
  readonly site: number;
}

/** Is element `element` of sample `sample` kept? The definition of what the dropout kernels compute. */
export function dropoutKeeps(at: DropoutSite, sample: number, element: number, rate: number): boolean {
  const [key0, key1] = threefry2x32(at.seed, at.site, at.step, sample);
  const word = threefry2x32(key0, key1, element >>> 1, 0)[element & 1];
  return word >= Math.floor(rate * 2 ** 32);
}
