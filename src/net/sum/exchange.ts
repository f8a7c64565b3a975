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
import type { Frame, OutgoingFrame } from "../link/frame.ts";
import { checksumOf, digestOf, joinLanes, LANES, type Lanes } from "../link/laneHash.ts";
import { Coverage } from "./coverage.ts";
import type { ExchangeMemory, Layout } from "./exchangeMemory.ts";
import type { Reducer } from "./reducer.ts";
import type { NonFinite, Summed } from "./treeSum.ts";
import { VALUE_BYTES, type ValueType } from "./wireTypes.ts";

/** What all exchanges of an epoch share. */
export interface Group extends Layout {
  readonly epoch: number;
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

export class Exchange {
  /** Its pieces are to be filled: `final` and `start` say what is. A part of the sum comes when the piece's has left. */
  readonly memory: ExchangeMemory;
  readonly result: Promise<Reduced>;

  readonly #group: Group;
  readonly #step: number;
  readonly #bucket: number;
  /** What is final of the own pieces. */
  readonly #final: Coverage;
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

  constructor(group: Group, step: number, bucket: number, memory: ExchangeMemory) {
    const { plan, self, members } = group;
    this.memory = memory;
    this.#group = group;
    this.#step = step;
    this.#bucket = bucket;
    const { parts, own } = memory;
    const others = plan.pieces.length - own.length;
    this.#missing = new Int32Array(parts.countOf(self)).fill(others + 1);
    const sums = parts.isSmall ? 0 : parts.count - parts.countOf(self); // that come
    const sent = parts.isSmall ? (members.length - 1) * parts.count : sums; // of each own piece
    const spread = parts.isSmall ? 1 : members.length; // an own part is summed, and its sum sent to all others
    this.#remaining = spread * parts.countOf(self) + sums + own.length * sent;
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
    if (this.memory.parts.length === 0) this.#finish();
  }

  /** Sends a part of the own pieces to whoever adds it: rounded, if it travels so. */
  #release(part: number): void {
    const { parts, own } = this.memory;
    const { members, self, reducer } = this.#group;
    const { from, to } = parts.at(part);
    if (this.memory.pieceType(part) === "bf16") {
      for (const piece of own) {
        const [packed, at] = [this.memory.sentPieceAt(piece, part), this.memory.pieceAt(piece, part)];
        reducer.here.packBf16(packed, at, to - from);
      }
    }
    for (let turn = 1; turn < members.length; turn++) {
      const member = (self + turn) % members.length; // everybody begins with another one
      if (!parts.isOf(member, part)) continue;
      for (const piece of own) this.#sendPiece(member, piece, part);
    }
    if (parts.isOf(self, part)) this.#has(part);
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

  #takePartial(member: number, frame: Frame): void {
    const { plan, self } = this.#group;
    const { piece } = frame;
    if (plan.pieces[piece]?.member !== member) throw new Error(`piece ${piece} is not the sender's`);
    const part = this.#expect(`partial ${piece}`, self, frame, (part) => this.memory.pieceType(part));
    this.#takeValues(this.memory.pieceAt(piece, part), frame);
    this.#has(part);
  }

  #takeSum(member: number, frame: Frame): void {
    const { parts } = this.memory;
    if (parts.isSmall) throw new Error("sum of a bucket that everybody sums");
    if (frame.piece !== 0) throw new Error(`sum of piece ${frame.piece}, expected 0`);
    const part = this.#expect(`sum ${member}`, member, frame, (part) => this.memory.sumType(part));
    const at = this.memory.sumAt(part);
    const lanes = this.#takeValues(at, frame);
    const { from, to } = parts.at(part);
    const bytes = VALUE_BYTES.f32 * (to - from);
    this.#keepHash(part, frame.wireType === "f32" ? lanes : this.#group.reducer.here.hash(at, bytes));
    this.#done();
  }

  /**
   * Copies a payload to the place that waits for it, and checks it there: until this returns, nobody reads the place.
   *
   * @throws Error if it is not what was sent
   */
  #copyIn(at: number, payload: Uint8Array, checksum: number): Lanes {
    this.memory.bytes(at, payload.byteLength).set(payload);
    const lanes = this.#group.reducer.here.hash(at, payload.byteLength);
    if (checksumOf(lanes, payload.byteLength) !== checksum) throw new Error("wrong checksum");
    return lanes;
  }

  /** @returns the payload's hash */
  #takeValues(at: number, { wireType, payload, checksum }: Frame): Lanes {
    if (wireType === "f32") return this.#copyIn(at, payload, checksum);
    // Widened in place, from the upper half of where they belong.
    const lanes = this.#copyIn(at + payload.byteLength, payload, checksum);
    const count = payload.byteLength / VALUE_BYTES.bf16;
    this.#group.reducer.here.unpackBf16(at, at + payload.byteLength, count);
    return lanes;
  }

  #keepHash(part: number, lanes: Lanes): void {
    const { from, to } = this.memory.parts.at(part);
    this.#hashes.set(from, { lanes, bytes: VALUE_BYTES.f32 * (to - from) });
  }

  /**
   * Notes that a part has come, and says which.
   *
   * @param owner the member whose part it must be
   */
  #expect(
    kind: string,
    owner: number,
    { wireType, offset, payload }: Frame,
    typeOf: (part: number) => ValueType,
  ): number {
    const { parts } = this.memory;
    if (wireType === "bytes") throw new Error(`${kind} in bytes`);
    const width = VALUE_BYTES[wireType];
    const element = offset / width;
    const part = parts.beginningWith(element);
    if (part === null || !parts.isOf(owner, part)) {
      throw new Error(`${kind} from element ${element}, where none of its parts begins`);
    }
    if (wireType !== typeOf(part)) throw new Error(`${kind} in ${wireType}, expected ${typeOf(part)}`);
    const { from, to } = parts.at(part);
    if (payload.byteLength !== width * (to - from)) {
      throw new Error(`${kind} has ${payload.byteLength / width} elements, expected ${to - from}`);
    }
    const name = `${kind} ${part}`;
    if (this.#arrived.has(name)) throw new Error(`${kind} from element ${from} came twice`);
    this.#arrived.add(name);
    return part;
  }

  /** A piece of an own part is there. */
  #has(part: number): void {
    if (--this.#missing[this.memory.parts.turnOf(part)] > 0) return;
    const summed = this.#group.reducer.sum(this.memory.jobOf(part));
    if (summed instanceof Promise) this.#wait(summed, (found) => this.#summed(part, found));
    else this.#summed(part, summed);
  }

  #summed(part: number, { nonFinite, lanes, checksum }: Summed): void {
    const { members, self } = this.#group;
    const { parts } = this.memory;
    if (nonFinite !== null) this.#noteNonFinite(parts.at(part).from, nonFinite);
    this.#keepHash(part, lanes);
    if (!parts.isSmall) {
      for (let turn = 1; turn < members.length; turn++) {
        this.#sendSum((self + turn) % members.length, part, checksum);
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

  #sendPiece(member: number, piece: number, part: number): void {
    const at = this.memory.sentPieceAt(piece, part);
    this.#send(member, { type: "partial", wireType: this.memory.pieceType(part), piece }, part, at);
  }

  #sendSum(member: number, part: number, checksum: number): void {
    const at = this.memory.sentSumAt(part);
    this.#send(member, { type: "sum", wireType: this.memory.sumType(part), piece: 0 }, part, at, checksum);
  }

  #send(
    member: number,
    kind: { readonly type: "partial" | "sum"; readonly wireType: ValueType; readonly piece: number },
    part: number,
    at: number,
    checksum?: number,
  ): void {
    const width = VALUE_BYTES[kind.wireType];
    const { from, to } = this.memory.parts.at(part);
    const bytes = width * (to - from);
    const { epoch, reducer: { here } } = this.#group;
    this.#group.post(member, {
      ...kind,
      ...{ bucket: this.#bucket, epoch, step: this.#step, offset: width * from },
      payload: this.memory.bytes(at, bytes),
      checksum: () => checksum ?? checksumOf(here.hash(at, bytes), bytes),
    }, () => this.#done());
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
    const bytes = VALUE_BYTES.f32 * this.memory.parts.length;
    this.#finished.resolve({ digest: digestOf(lanes, bytes), nonFinite: this.#nonFinite });
  }

  /** Waits for the thread that adds; what it found is of no use after an abort. */
  #wait(summing: Promise<Summed>, then: (summed: Summed) => void): void {
    const settled = summing.then((summed) => {
      if (this.#error === null) then(summed);
    }).catch((error) => this.#finished.reject(error));
    this.#jobs = Promise.all([this.#jobs, settled]);
  }
}
