/** How an array is cut into buckets, and a bucket into the parts that frames carry and members sum. */

/** At most this many elements are sent to everybody at once, and added by everybody: one trip instead of two. */
export const SMALL_ELEMENTS = 4096;
/** Parts begin at multiples of this many elements (64 bytes): vectors and turns of the hash are not cut. */
export const ALIGNMENT = 16;
/** Elements that a frame carries at most, where nothing else is said: 256 KiB. */
export const PART_ELEMENTS = 65536;

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
 * are laid out in the order of forward. Only the topmost comes last: there lie those of all layers that have few values.
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
  return [...exact, ...others.slice(1), ...others.slice(0, 1)];
}

/** The next multiple of the alignment. */
export function aligned(elements: number): number {
  return Math.ceil(elements / ALIGNMENT) * ALIGNMENT;
}

/**
 * The parts of a bucket: what a frame carries, and what is summed at a time. They are dealt out to the members in turn,
 * so that whichever stretch of the bucket is ready first is work for all of them. Of a small bucket everybody has all.
 */
export class Parts {
  /** Elements of a part; the last one may be shorter. */
  readonly elements: number;
  readonly count: number;
  /** Whether everybody sums all of them. */
  readonly isSmall: boolean;

  /** @param most elements of a part */
  constructor(readonly length: number, readonly members: number, most: number) {
    this.isSmall = length <= SMALL_ELEMENTS;
    const rounds = Math.ceil(length / (members * most));
    this.elements = this.isSmall ? most : aligned(Math.ceil(length / (members * rounds)));
    this.count = Math.ceil(length / this.elements);
  }

  at(part: number): Slice {
    const from = part * this.elements;
    return { from, to: Math.min(from + this.elements, this.length) };
  }

  isOf(member: number, part: number): boolean {
    return this.isSmall || part % this.members === member;
  }

  /** Where a part stands among those of its member. */
  turnOf(part: number): number {
    return this.isSmall ? part : Math.floor(part / this.members);
  }

  /** How many parts a member has. */
  countOf(member: number): number {
    return this.isSmall ? this.count : Math.ceil((this.count - member) / this.members);
  }

  /** Elements of memory for the parts of any member, of any bucket of at most `length` elements. */
  static capacity(length: number, members: number, most: number): number {
    const rounds = Math.ceil(length / (members * most));
    return aligned(
      Math.max(Math.min(length, SMALL_ELEMENTS), Math.ceil(length / members) + rounds * ALIGNMENT),
    );
  }
}
