/**
 * One bucket's way through an allreduce. With p members and n bytes:
 *
 * 1. *Reduce-scatter by direct exchange.* The bucket's parts are dealt out to the members in turn: member k sends the
 *    owner of each part that part of each of its pieces, as soon as it is final: (p-1)/p n bytes a piece, in one trip.
 *    An even share of a power of two of virtual workers is one piece; an uneven one costs a few more, at most 2 lg V.
 * 2. *Sum.* As soon as a part has come of all pieces, its owner adds it along the tree, on another thread.
 * 3. *All-gather.* The sum of the part goes to everybody at once, while other parts still come in: again (p-1)/p n
 *    bytes in one trip.
 *
 * So two trips and 2 (p-1)/p n bytes, the lower bound of an allreduce, for any p. A bucket of at most SMALL_ELEMENTS
 * goes to everybody whole, and everybody adds: one trip, (p-1) n bytes. docs/allreduce.md has the rest: copies, memory
 * and wire types.
 */
import type { Frame, OutgoingFrame } from "./frame.ts";
import { checksumOf, digestOf, joinLanes, LANES, type Lanes } from "./laneHash.ts";
import { Coverage } from "./coverage.ts";
import { aligned, Parts, type Slice, SMALL_ELEMENTS } from "./partition.ts";
import type { Reducer } from "./reducer.ts";
import type { SumPlan } from "./tree.ts";
import type { NonFinite, Summed } from "./treeSum.ts";

/**
 * How values travel; `bf16` rounds them to nearest, ties to even. What was rounded is what everybody adds or gets, the
 * member whose it is, too.
 */
export type ValueType = "f32" | "bf16";

export interface WireTypes {
  /** Of pieces: with `bf16` the sum's bits depend on who has which piece. Default: f32 */
  readonly pieceType?: ValueType;
  /** Of sums: the same bits for any number of members. Default: f32 */
  readonly sumType?: ValueType;
}

/** Do values lose bits on their way? */
export function isRounded({ pieceType, sumType }: WireTypes): boolean {
  return pieceType === "bf16" || sumType === "bf16";
}

/** What all exchanges of an epoch share. */
export interface Group extends Required<WireTypes> {
  readonly epoch: number;
  readonly members: readonly string[];
  /** This member's index. */
  readonly self: number;
  readonly plan: SumPlan;
  readonly partElements: number;
  readonly reducer: Reducer;
  /** Queues a frame for another member. */
  readonly post: (member: number, frame: OutgoingFrame, sent: () => void) => void;
}

export interface Reduced {
  /** Hash of the sum's bytes, see laneHash.ts: the same on all members, or somebody's sum is wrong. */
  readonly digest: string;
  /** What is wrong with a part that was summed here; only the member that sums it knows. */
  readonly nonFinite: { readonly element: number; readonly member: string | null } | null;
}

const BYTES = 4;
/** Bytes of a value on the wire. */
const WIDTHS = { f32: BYTES, bf16: 2 } as const;

/** Bytes that an exchange of at most `length` elements takes in shared memory. */
export function exchangeBytes(
  { members, self, plan, pieceType, partElements }: Pick<
    Group,
    "members" | "self" | "plan" | "pieceType" | "partElements"
  >,
  length: number,
): number {
  const own = plan.pieces.filter(({ member }) => member === self).length;
  const shares = plan.pieces.length - own + 1; // the last for packed sums
  const packed = pieceType === "bf16" ? own * aligned(Math.ceil(length / 2)) : 0;
  const small = aligned(Math.min(length, SMALL_ELEMENTS)); // whose sum has a place of its own
  const share = Parts.capacity(length, members.length, partElements);
  return BYTES * (own * aligned(length) + small + packed + shares * share);
}

export class Exchange {
  /** This member's pieces in ascending order, to be filled: `final` and `start` say what is. (length) each */
  readonly pieces: readonly Float32Array<ArrayBufferLike>[];
  /** In the place of the first piece where that is not small: a part of the sum comes when the piece's has left. (length) */
  readonly sum: Float32Array<ArrayBufferLike>;
  readonly result: Promise<Reduced>;

  readonly #group: Group;
  readonly #step: number;
  readonly #bucket: number;
  readonly #length: number;
  readonly #parts: Parts;
  /** What is final of the own pieces. */
  readonly #final: Coverage;
  /** Address of each own piece; of others' pieces, of the own parts one behind the other. */
  readonly #pieceAt: readonly number[];
  readonly #sumAt: number;
  /** Where the own parts of the sum are packed for the wire, and the own pieces are. */
  readonly #packedAt: number;
  readonly #packedPieceAt = new Map<number, number>();
  /** Parts that have come, named by kind, piece or member, and part. */
  readonly #arrived = new Set<string>();
  /** Pieces that each own part still waits for; the own ones count as one. */
  readonly #missing: Int32Array;
  /** Parts to be summed here, sums to come and frames to be sent. */
  #remaining: number;
  #nonFinite: Reduced["nonFinite"] = null;
  #error: Error | null = null;
  #isOver = false;
  #jobs: Promise<unknown> = Promise.resolve();
  /** Hashes of the parts of the sum that are there, by their first element. */
  readonly #hashes = new Map<number, { readonly lanes: Lanes; readonly bytes: number }>();
  readonly #finished = Promise.withResolvers<Reduced>();

  /** @param at address of `exchangeBytes(group, length)` that nobody else uses */
  constructor(group: Group, step: number, bucket: number, length: number, at: number) {
    const { plan, self, members, partElements } = group;
    this.#group = group;
    this.#step = step;
    this.#bucket = bucket;
    this.#length = length;
    const parts = this.#parts = new Parts(length, members.length, partElements);
    let free = at;
    const take = (elements: number) => {
      const address = free;
      free += BYTES * aligned(elements);
      return address;
    };
    const share = Math.min(length, parts.countOf(self) * parts.elements);
    this.#pieceAt = plan.pieces.map(({ member }) => take(member === self ? length : share));
    this.#sumAt = parts.isSmall
      ? take(length)
      : this.#pieceAt[plan.pieces.findIndex(({ member }) => member === self)];
    this.#packedAt = take(share);
    plan.pieces.forEach(({ member }, piece) => {
      if (group.pieceType === "bf16" && member === self) {
        this.#packedPieceAt.set(piece, take(Math.ceil(length / 2)));
      }
    });
    this.pieces = this.#pieceAt.filter((_, piece) => plan.pieces[piece].member === self).map((address) =>
      this.#floats(address)
    );
    this.sum = this.#floats(this.#sumAt);

    const others = plan.pieces.filter(({ member }) => member !== self).length;
    this.#missing = new Int32Array(parts.countOf(self)).fill(others + 1);
    const sums = parts.isSmall ? 0 : parts.count - parts.countOf(self); // that come
    const sent = parts.isSmall ? (members.length - 1) * parts.count : sums; // of each own piece
    const spread = parts.isSmall ? 1 : members.length; // an own part is summed, and its sum sent to all others
    this.#remaining = spread * parts.countOf(self) + sums + this.pieces.length * sent;
    this.#final = new Coverage(
      Array.from({ length: parts.count }, (_, part) => parts.at(part)),
      (part) => this.#release(part),
    );
    this.result = this.#finished.promise;
    this.result.catch(() => {}); // whoever is interested asks for it
  }

  /** Elements [from, to) of the own pieces are what they will be, and stay as they are: what is whole of parts is sent. */
  final(from: number, to: number): void {
    if (this.#error === null) this.#final.add(from, to);
  }

  /** The own pieces are complete, and stay as they are. */
  start(): void {
    if (this.#error !== null) return;
    this.#final.finish();
    if (this.#length === 0) this.#finish();
  }

  /** Sends a part of the own pieces to whoever adds it: rounded, if it travels so. */
  #release(part: number): void {
    const { members, self, plan, reducer } = this.#group;
    const { from, to } = this.#parts.at(part);
    for (const [piece, at] of this.#packedPieceAt) {
      reducer.here.packBf16(at + WIDTHS.bf16 * from, this.#pieceAt[piece] + BYTES * from, to - from);
    }
    for (let turn = 1; turn < members.length; turn++) {
      const member = (self + turn) % members.length; // everybody begins with another one
      if (!this.#parts.isOf(member, part)) continue;
      plan.pieces.forEach((owner, piece) => {
        if (owner.member === self) this.#send(member, "partial", piece, part);
      });
    }
    if (this.#parts.isOf(self, part)) this.#has(part);
  }

  /** Takes a frame of another member. @throws Error if it is not one that was to come */
  receive(member: number, frame: Frame): void {
    if (this.#error !== null) return;
    if (frame.type === "partial") this.#takePartial(member, frame);
    else this.#takeSum(member, frame);
  }

  /** Whether the sum is there and nothing more is read or written. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Ends the exchange, if it has not ended; resolves when nothing reads or writes its memory any more. */
  async abort(error: Error): Promise<void> {
    this.#error ??= error;
    this.#finished.reject(error);
    await this.#jobs;
  }

  #takePartial(member: number, { wireType, piece, offset, payload, checksum }: Frame): void {
    const { pieceType } = this.#group;
    if (wireType !== pieceType) throw new Error(`partial in ${wireType}, expected ${pieceType}`);
    if (this.#group.plan.pieces[piece]?.member !== member) {
      throw new Error(`piece ${piece} is not the sender's`);
    }
    const { self } = this.#group;
    const part = this.#expect(`partial ${piece}`, self, offset, payload.byteLength, WIDTHS[pieceType]);
    this.#takeValues(pieceType, this.#pieceOf(piece, part), payload, checksum);
    this.#has(part);
  }

  #takeSum(member: number, { wireType, piece, offset, payload, checksum }: Frame): void {
    const { sumType, reducer } = this.#group;
    if (this.#parts.isSmall) throw new Error("sum of a bucket that everybody sums");
    if (wireType !== sumType) throw new Error(`sum in ${wireType}, expected ${sumType}`);
    if (piece !== 0) throw new Error(`sum of piece ${piece}, expected 0`);
    const part = this.#expect(`sum ${member}`, member, offset, payload.byteLength, WIDTHS[sumType]);
    const { from, to } = this.#parts.at(part);
    const at = this.#sumAt + BYTES * from;
    const lanes = this.#takeValues(sumType, at, payload, checksum);
    const elements = to - from;
    this.#keepHash(from, sumType === "f32" ? lanes : reducer.here.hash(at, BYTES * elements), elements);
    this.#done();
  }

  /**
   * Copies a payload to the place that waits for it, and checks it there: until this returns, nobody reads the place.
   *
   * @throws Error if it is not what was sent
   */
  #copyIn(at: number, payload: Uint8Array, checksum: number): Lanes {
    this.#bytes(at, payload.byteLength).set(payload);
    const lanes = this.#group.reducer.here.hash(at, payload.byteLength);
    if (checksumOf(lanes, payload.byteLength) !== checksum) throw new Error("wrong checksum");
    return lanes;
  }

  /** @returns the payload's hash */
  #takeValues(type: ValueType, at: number, payload: Uint8Array, checksum: number): Lanes {
    if (type === "f32") return this.#copyIn(at, payload, checksum);
    // Widened in place, from the upper half of where they belong.
    const lanes = this.#copyIn(at + payload.byteLength, payload, checksum);
    this.#group.reducer.here.unpackBf16(at, at + payload.byteLength, payload.byteLength / WIDTHS.bf16);
    return lanes;
  }

  #keepHash(from: number, lanes: Lanes, elements: number): void {
    this.#hashes.set(from, { lanes, bytes: BYTES * elements });
  }

  /**
   * Notes that a part has come of `bytes` bytes from `offset` on, and says which.
   *
   * @param owner the member whose part it must be
   */
  #expect(kind: string, owner: number, offset: number, bytes: number, width: number): number {
    const part = offset / width / this.#parts.elements;
    if (!Number.isInteger(part) || part >= this.#parts.count || !this.#parts.isOf(owner, part)) {
      throw new Error(`${kind} from element ${offset / width}, where none of its parts begins`);
    }
    const { from, to } = this.#parts.at(part);
    if (bytes !== width * (to - from)) {
      throw new Error(`${kind} has ${bytes / width} elements, expected ${to - from}`);
    }
    const name = `${kind} ${part}`;
    if (this.#arrived.has(name)) throw new Error(`${kind} from element ${from} came twice`);
    this.#arrived.add(name);
    return part;
  }

  /** Address of a part of a piece: of any part of an own one, of the own parts of others'. */
  #pieceOf(piece: number, part: number): number {
    const { elements } = this.#parts;
    const isOwn = this.#group.plan.pieces[piece].member === this.#group.self;
    return this.#pieceAt[piece] + BYTES * elements * (isOwn ? part : this.#parts.turnOf(part));
  }

  #packedSumOf(part: number): number {
    return this.#packedAt + WIDTHS.bf16 * this.#parts.elements * this.#parts.turnOf(part);
  }

  /** A piece of an own part is there. */
  #has(part: number): void {
    if (--this.#missing[this.#parts.turnOf(part)] > 0) return;
    const { from, to } = this.#parts.at(part);
    const job = {
      pieces: this.#pieceAt.map((_, piece) => this.#pieceOf(piece, part)),
      out: this.#sumAt + BYTES * from,
      count: to - from,
      ...(this.#group.sumType === "bf16" && { packTo: this.#packedSumOf(part) }),
    };
    const summed = this.#group.reducer.sum(job);
    if (summed instanceof Promise) this.#wait(summed, (found) => this.#summed(part, found));
    else this.#summed(part, summed);
  }

  #summed(part: number, { nonFinite, lanes, checksum }: Summed): void {
    const { members, self } = this.#group;
    const { from, to } = this.#parts.at(part);
    if (nonFinite !== null) this.#noteNonFinite(from, nonFinite);
    this.#keepHash(from, lanes, to - from);
    if (!this.#parts.isSmall) {
      for (let turn = 1; turn < members.length; turn++) {
        this.#send((self + turn) % members.length, "sum", 0, part, checksum);
      }
    }
    this.#done();
  }

  /** Of several, that with the lowest element is kept. */
  #noteNonFinite(from: number, { element, piece }: NonFinite): void {
    const { members, plan } = this.#group;
    const found = from + element;
    if (this.#nonFinite !== null && this.#nonFinite.element < found) return;
    this.#nonFinite = { element: found, member: piece === null ? null : members[plan.pieces[piece].member] };
  }

  #send(member: number, type: "partial" | "sum", piece: number, part: number, checksum?: number): void {
    const wireType = type === "sum" ? this.#group.sumType : this.#group.pieceType;
    const width = WIDTHS[wireType];
    const { from, to }: Slice = this.#parts.at(part);
    const at = type === "sum" ? this.#sentSumOf(part) : this.#sentPieceOf(piece, part);
    const bytes = width * (to - from);
    const { reducer: { here } } = this.#group;
    this.#group.post(member, {
      type,
      wireType,
      bucket: this.#bucket,
      epoch: this.#group.epoch,
      step: this.#step,
      piece,
      offset: width * from,
      payload: this.#bytes(at, bytes),
      checksum: () => checksum ?? checksumOf(here.hash(at, bytes), bytes),
    }, () => this.#done());
  }

  #sentPieceOf(piece: number, part: number): number {
    const packed = this.#packedPieceAt.get(piece);
    return packed === undefined
      ? this.#pieceOf(piece, part)
      : packed + WIDTHS.bf16 * this.#parts.elements * part;
  }

  #sentSumOf(part: number): number {
    if (this.#group.sumType === "bf16") return this.#packedSumOf(part);
    return this.#sumAt + BYTES * this.#parts.elements * part;
  }

  #done(): void {
    if (this.#error === null && --this.#remaining === 0) this.#finish();
  }

  #finish(): void {
    const parts = [...this.#hashes].sort(([a], [b]) => a - b).map(([, part]) => part);
    const lanes = parts.reduce(
      (head, { lanes, bytes }) => joinLanes(head, lanes, bytes),
      new Int32Array(LANES),
    );
    this.#isOver = true;
    this.#finished.resolve({ digest: digestOf(lanes, BYTES * this.#length), nonFinite: this.#nonFinite });
  }

  /** Waits for the thread that adds; what it found is of no use after an abort. */
  #wait(summing: Promise<Summed>, then: (summed: Summed) => void): void {
    const settled = summing.then((summed) => {
      if (this.#error === null) then(summed);
    }).catch((error) => this.#finished.reject(error));
    this.#jobs = Promise.all([this.#jobs, settled]);
  }

  #floats(at: number): Float32Array<ArrayBufferLike> {
    return new Float32Array(this.#group.reducer.memory.buffer, at, this.#length);
  }

  #bytes(at: number, length: number): Uint8Array<ArrayBufferLike> {
    return new Uint8Array(this.#group.reducer.memory.buffer, at, length);
  }
}
