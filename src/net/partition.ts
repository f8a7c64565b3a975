/**
 * How an array is cut into buckets, a bucket into a slice for each member to sum, and each slice into the
 * parts that frames carry.
 */

/** At most this many elements are sent to everybody at once, and added by everybody: one trip instead of two. */
export const SMALL_ELEMENTS = 4096;
/** Slices and parts begin at multiples of this many elements (64 bytes): vectors and turns of the hash are not cut. */
export const ALIGNMENT = 16;

/** Elements [from, to) of an array or a bucket. */
export interface Slice {
  readonly from: number;
  readonly to: number;
}

/** Elements of an array that are summed together. */
export interface BucketSlice extends Slice {
  /** They travel in float32, whatever the others do. */
  readonly isExact?: boolean;
}

/**
 * An array's buckets, from its end to its beginning: the order in which backward finishes gradients that
 * are laid out in the order of forward.
 *
 * @param exactValues at the end of the array: a bucket of their own
 */
export function cutBuckets(length: number, bucketElements: number, exactValues = 0): BucketSlice[] {
  const rest = length - exactValues;
  const exact = exactValues === 0 ? [] : [{ from: rest, to: length, isExact: true }];
  const others = Array.from({ length: Math.ceil(rest / bucketElements) }, (_, bucket) => {
    const to = rest - bucket * bucketElements;
    return { from: Math.max(0, to - bucketElements), to };
  });
  return [...exact, ...others];
}

/** Member k's slice of a bucket; of a small one everybody has the whole. */
export function sliceOf(length: number, member: number, members: number): Slice {
  if (length <= SMALL_ELEMENTS) return { from: 0, to: length };
  const start = (k: number) => {
    const even = Math.floor(k * length / members);
    return k === members ? length : even - even % ALIGNMENT;
  };
  return { from: start(member), to: start(member + 1) };
}

/** Elements of memory that any slice of a bucket of at most `length` elements needs. */
export function sliceCapacity(length: number, members: number): number {
  return aligned(Math.max(Math.min(length, SMALL_ELEMENTS), Math.ceil(length / members) + ALIGNMENT));
}

/** The next multiple of the alignment. */
export function aligned(elements: number): number {
  return Math.ceil(elements / ALIGNMENT) * ALIGNMENT;
}

/** How many parts of `partElements` a slice has; the last one may be shorter. */
export function numParts({ from, to }: Slice, partElements: number): number {
  return Math.ceil((to - from) / partElements);
}

/** The elements of a slice's part, in the bucket. */
export function partOf({ from, to }: Slice, part: number, partElements: number): Slice {
  const begin = from + part * partElements;
  return { from: begin, to: Math.min(to, begin + partElements) };
}
