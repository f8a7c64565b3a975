/** Where a bucket's values lie in shared memory while it is summed, and how each of its parts travels. */
import { aligned, Parts, SMALL_ELEMENTS } from "./partition.ts";
import type { SumPlan } from "./tree.ts";
import type { SumJob } from "./treeSum.ts";
import { VALUE_BYTES, type ValueType, type WireTypes } from "./wireTypes.ts";

/** What the buckets of an epoch have in common. */
export interface Layout extends Required<WireTypes> {
  readonly members: readonly string[];
  /** This member's index. */
  readonly self: number;
  readonly plan: SumPlan;
  readonly partElements: number;
}

const { f32: BYTES, bf16: PACKED_BYTES } = VALUE_BYTES;

/** Bytes that a bucket of at most `length` elements takes, the last `exact` of which are never rounded. */
export function exchangeBytes(layout: Layout, length: number, exact: number): number {
  const { members, self, plan, pieceType, sumType, partElements } = layout;
  const own = plan.pieces.filter(({ member }) => member === self).length;
  const small = aligned(Math.min(length, SMALL_ELEMENTS)); // whose sum has a place of its own
  const share = Parts.capacity(length, members.length, partElements, exact);
  const packed = (pieceType === "bf16" ? own * aligned(Math.ceil(length / 2)) : 0) +
    (sumType === "bf16" ? aligned(Math.ceil(share / 2)) : 0);
  return BYTES * (own * aligned(length) + small + (plan.pieces.length - own) * share + packed);
}

export class ExchangeMemory {
  readonly parts: Parts;
  /** Which of the plan's pieces are this member's, in ascending order. */
  readonly own: readonly number[];
  /** Those. (length) each */
  readonly pieces: readonly Float32Array<ArrayBufferLike>[];
  /** In the place of the first piece where the bucket is not small. (length) */
  readonly sum: Float32Array<ArrayBufferLike>;
  readonly #layout: Layout;
  readonly #buffer: ArrayBufferLike;
  /** Address of each own piece; of others' pieces, of the own parts one behind the other. */
  readonly #pieceAt: readonly number[];
  readonly #sumAt: number;
  /** Where the own parts of the sum are packed for the wire, and the own pieces are. */
  readonly #packedSumAt: number;
  readonly #packedPieceAt = new Map<number, number>();

  /** @param at address of `exchangeBytes(layout, length, exact)` in `buffer` that nobody else uses */
  constructor(layout: Layout, length: number, exact: number, buffer: ArrayBufferLike, at: number) {
    const { members, self, plan, pieceType, sumType, partElements } = layout;
    this.#layout = layout;
    this.#buffer = buffer;
    const parts = this.parts = new Parts(length, members.length, partElements, exact);
    let free = at;
    const take = (elements: number) => {
      const address = free;
      free += BYTES * aligned(elements);
      return address;
    };
    const isOwn = (piece: number) => plan.pieces[piece].member === self;
    const share = parts.roomOf(self);
    this.#pieceAt = plan.pieces.map((_, piece) => take(isOwn(piece) ? length : share));
    const own = this.own = [...plan.pieces.keys()].filter(isOwn);
    this.#sumAt = parts.isSmall ? take(length) : this.#pieceAt[own[0]];
    this.#packedSumAt = sumType === "bf16" ? take(Math.ceil(share / 2)) : NaN;
    if (pieceType === "bf16") {
      for (const piece of own) this.#packedPieceAt.set(piece, take(Math.ceil(length / 2)));
    }
    const floats = (address: number) => new Float32Array(buffer, address, length);
    this.pieces = own.map((piece) => floats(this.#pieceAt[piece]));
    this.sum = floats(this.#sumAt);
  }

  /** How a part of a piece travels. */
  pieceType(part: number): ValueType {
    return this.parts.isExact(part) ? "f32" : this.#layout.pieceType;
  }

  /** How a part of the sum travels. */
  sumType(part: number): ValueType {
    return this.parts.isExact(part) ? "f32" : this.#layout.sumType;
  }

  /** Address of a part of a piece: of any part of an own one, of the own parts of others'. */
  pieceAt(piece: number, part: number): number {
    const isOwn = this.#layout.plan.pieces[piece].member === this.#layout.self;
    return this.#pieceAt[piece] + BYTES * (isOwn ? this.parts.at(part).from : this.parts.placeOf(part));
  }

  sumAt(part: number): number {
    return this.#sumAt + BYTES * this.parts.at(part).from;
  }

  /** Where a part of an own piece leaves from. */
  sentPieceAt(piece: number, part: number): number {
    const packed = this.#packedPieceAt.get(piece);
    return packed === undefined || this.parts.isExact(part)
      ? this.pieceAt(piece, part)
      : packed + PACKED_BYTES * this.parts.at(part).from;
  }

  /** Where an own part of the sum leaves from. */
  sentSumAt(part: number): number {
    if (this.sumType(part) === "f32") return this.sumAt(part);
    return this.#packedSumAt + PACKED_BYTES * this.parts.placeOf(part);
  }

  /** What adds an own part. */
  jobOf(part: number): SumJob {
    const { from, to } = this.parts.at(part);
    return {
      pieces: this.#pieceAt.map((_, piece) => this.pieceAt(piece, part)),
      out: this.sumAt(part),
      count: to - from,
      ...(this.sumType(part) === "bf16" && { packTo: this.sentSumAt(part) }),
    };
  }

  bytes(at: number, length: number): Uint8Array<ArrayBufferLike> {
    return new Uint8Array(this.#buffer, at, length);
  }
}
