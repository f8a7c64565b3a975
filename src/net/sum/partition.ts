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
  /** So many at its end are never rounded on their way. */
  readonly exact: number;
}

/**
 * An array's buckets, from its end to its beginning: the order in which backward finishes gradients that
 * are laid out in the order of forward. Only the topmost comes last: there lie those of all layers that have few values.
 *
 * @param exact values at the end of the array that are never rounded: the topmost bucket has them in addition
 */
export function cutBuckets(length: number, bucketElements: number, exact = 0): BucketSlice[] {
  const rest = length - exact;
  const [topmost, ...others] = Array.from({ length: Math.ceil(rest / bucketElements) }, (_, bucket) => {
    const to = rest - bucket * bucketElements;
    return { from: Math.max(0, to - bucketElements), to, exact: 0 };
  });
  return topmost === undefined ? [] : [...others, { ...topmost, to: length, exact }];
}

/** The next multiple of the alignment. */
export function aligned(elements: number): number {
  return Math.ceil(elements / ALIGNMENT) * ALIGNMENT;
}

/**
 * The parts of a bucket: what a frame carries, and what is summed at a time. They are dealt out to the members in turn,
 * so that whichever stretch of the bucket is ready first is work for all of them. Of a small bucket everybody has all.
 * Values that are never rounded are the last part.
 */
export class Parts {
  /** Elements of a part; the last one, and the last one before exact values, may be shorter. */
  readonly elements: number;
  readonly count: number;
  /** Whether everybody sums all of them. */
  readonly isSmall: boolean;
  /** Where the exact values begin, and the parts that come before. */
  readonly #rounded: { readonly to: number; readonly count: number };

  /**
   * @param most elements of a part
   * @param exact values at the end that are never rounded
   * @throws Error if those don't begin at a multiple of the alignment
   */
  constructor(readonly length: number, readonly members: number, most: number, exact = 0) {
    const to = length - exact;
    if (exact > 0 && to % ALIGNMENT !== 0) {
      throw new Error(`Exact values begin at element ${to}, expected a multiple of ${ALIGNMENT}`);
    }
    this.isSmall = length <= SMALL_ELEMENTS;
    const rounds = Math.ceil(to / (members * most));
    this.elements = this.isSmall ? most : aligned(Math.ceil(to / (members * rounds)));
    this.#rounded = { to, count: Math.ceil(to / this.elements) };
    this.count = this.#rounded.count + Math.sign(exact);
  }

  at(part: number): Slice {
    const { to } = this.#rounded;
    if (this.isExact(part)) return { from: to, to: this.length };
    const from = part * this.elements;
    return { from, to: Math.min(from + this.elements, to) };
  }

  /** The part that begins with an element; null: none does. */
  beginningWith(element: number): number | null {
    const { to, count } = this.#rounded;
    if (element === to && count < this.count) return count;
    const part = element / this.elements;
    return Number.isInteger(part) && part < count ? part : null;
  }

  isExact(part: number): boolean {
    return part >= this.#rounded.count;
  }

  isOf(member: number, part: number): boolean {
    return this.isSmall || part % this.members === member;
  }

  /** Where a part stands among those of its member. */
  turnOf(part: number): number {
    return this.isSmall ? part : Math.floor(part / this.members);
  }

  /** Where a part lies, in elements, if those of its member lie one behind the other. */
  placeOf(part: number): number {
    return this.isSmall ? this.at(part).from : this.elements * this.turnOf(part);
  }

  /** How many parts a member has. */
  countOf(member: number): number {
    return this.isSmall ? this.count : Math.ceil((this.count - member) / this.members);
  }

  /** Elements of memory for the parts of a member. */
  roomOf(member: number): number {
    const count = this.countOf(member);
    if (count === 0) return 0;
    const last = this.isSmall ? count - 1 : member + (count - 1) * this.members;
    const { from, to } = this.at(last);
    return this.placeOf(last) + to - from;
  }

  /** Elements of memory for the parts of any member, of any bucket of at most `length` elements. */
  static capacity(length: number, members: number, most: number, exact: number): number {
    const rounds = Math.ceil(length / (members * most));
    const share = Math.ceil(length / members) + rounds * ALIGNMENT + exact;
    return aligned(Math.max(Math.min(length, SMALL_ELEMENTS), share));
  }
}
