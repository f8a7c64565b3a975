/**
 * Sums of float32 arrays over the members of a group, in the order of the tree over the virtual workers: the same bits
 * for any number of members. `exchange.ts` has the steps and bytes, docs/allreduce.md
 * the copies.
 */
import type { Frame, FrameHeader } from "../link/frame.ts";
import { Outbox, type PeerTransport } from "../link/outbox.ts";
import { Arrivals } from "./arrivals.ts";
import { Exchange, type Group, type Reduced } from "./exchange.ts";
import { exchangeBytes, ExchangeMemory } from "./exchangeMemory.ts";
import { ALIGNMENT, PART_ELEMENTS } from "./partition.ts";
import { type Reducer, startReducer } from "./reducer.ts";
import { shareOut } from "./shares.ts";
import { planSum } from "./tree.ts";
import { VALUE_BYTES, type WireTypes } from "./wireTypes.ts";

export type { PeerTransport, Reduced };

/** The wire types are the same on all members. */
export interface AllreduceOptions extends WireTypes {
  /** This member's id. */
  readonly self: string;
  /** A constant of the run. */
  readonly virtualWorkers: number;
  /** The longest bucket, in elements, exact values left out. */
  readonly bucketElements: number;
  /** Values that a bucket has at most at its end and that are never rounded. Default: 0 */
  readonly exactValues?: number;
  /** Buckets that may be open at once, the same on all members. Default: 3 */
  readonly maxOpen?: number;
  /** Elements that a frame carries, a multiple of 16 and at most 2^18, the same on all members. Default: 65536 (256 KiB) */
  readonly partElements?: number;
}

/** Who takes part, from which step on. */
export interface EpochSpec {
  /** Grows with every change of membership, and after every abort. */
  readonly epoch: number;
  readonly step: number;
  /** In the same order everywhere; `shareOut` says who hosts which virtual workers. */
  readonly members: readonly string[];
}

/**
 * A bucket that is being summed. Its arrays lie in shared memory and are valid until `release` or the next epoch's
 * `begin`.
 */
export interface Bucket {
  /** The sums over the maximal subtrees of this member's share, in ascending order: fill them. (length) each */
  readonly pieces: readonly Float32Array<ArrayBufferLike>[];
  /** The sum over all virtual workers, once `reduce` resolves. (length) */
  readonly sum: Float32Array<ArrayBufferLike>;
  /** Elements [from, to) of the pieces must not change any more, and are sent. Each element once; no need to tell of all. */
  final(from: number, to: number): void;
  /** Sends what is left of the pieces, which must not change any more. @throws ExchangeError */
  reduce(): Promise<Reduced>;
  /** Makes room for the next bucket. */
  release(): void;
}

/** The epoch has ended for this member: nothing is summed until `begin` is called with the next one. */
export class ExchangeError extends Error {
  override readonly name = "ExchangeError";
  /** @param peer the member that is to blame, if one is */
  constructor(message: string, readonly peer: string | null) {
    super(message);
  }
}

interface Epoch extends Group {
  readonly outboxes: ReadonlyMap<string, Outbox>;
  readonly slotBytes: number;
}

/** A frame that has come before its bucket was opened here; its sender's credit waits with it. */
interface Early {
  readonly peer: string;
  readonly frame: Frame;
  readonly taken: PromiseWithResolvers<void>;
}

/** Where a bucket stands in a run: they are opened in ascending order. */
type Place = Pick<FrameHeader, "step" | "bucket">;

const placeName = ({ step, bucket }: Place) => `${step} ${bucket}`;
const isAfter = (a: Place, b: Place) => a.step > b.step || (a.step === b.step && a.bucket > b.bucket);

export class Allreduce {
  readonly arrivals = new Arrivals();
  readonly #transport: PeerTransport;
  readonly #options: Required<AllreduceOptions>;
  readonly #reducer: Reducer;
  #epoch: Epoch | null = null;
  #error: ExchangeError | null = new ExchangeError("No epoch has begun", null);
  readonly #open = new Map<string, Exchange>();
  /** The bucket that was opened last. */
  #last: Place = { step: 0, bucket: -1 };
  #early: Early[] = [];
  #freeSlots: number[] = [];
  #waiting: PromiseWithResolvers<number>[] = [];
  #ending: Promise<unknown> = Promise.resolve();

  /** Starts a thread; `close` ends it. */
  constructor(transport: PeerTransport, options: AllreduceOptions) {
    this.#transport = transport;
    const defaults = { exactValues: 0, maxOpen: 3, partElements: PART_ELEMENTS } as const;
    this.#options = { ...defaults, pieceType: "f32", sumType: "f32", ...options };
    if (this.#options.partElements % ALIGNMENT !== 0) {
      throw new Error(`A part of ${this.#options.partElements} elements is no multiple of ${ALIGNMENT}`);
    }
    this.#reducer = startReducer(options.virtualWorkers);
  }

  /** `scalar` where the runtime lacks WebAssembly SIMD: sums are slower then. */
  get kind(): "simd" | "scalar" {
    return this.#reducer.here.kind;
  }

  /** The longest array, in bytes, that a frame may be a part of. */
  arrayBytes({ wireType }: Pick<FrameHeader, "wireType">): number {
    const { bucketElements, exactValues } = this.#options;
    return (bucketElements + exactValues) * VALUE_BYTES[wireType === "bf16" ? "bf16" : "f32"];
  }

  /** Begins an epoch; whatever is open ends. Resolves when buckets can be opened; one call at a time. */
  async begin({ epoch, step, members }: EpochSpec): Promise<void> {
    const { self, virtualWorkers, bucketElements, exactValues, maxOpen } = this.#options;
    const { partElements, pieceType, sumType } = this.#options;
    if (this.#epoch !== null && epoch <= this.#epoch.epoch) {
      throw new Error(`Epoch ${epoch} does not come after ${this.#epoch.epoch}`);
    }
    const index = members.indexOf(self);
    if (index < 0) throw new Error(`${self} is not a member of epoch ${epoch}`);
    const plan = planSum(virtualWorkers, shareOut(virtualWorkers, members.length));
    this.abort(`Epoch ${epoch} begins`);
    await this.#ending;
    this.arrivals.clear();

    const layout = { members, self: index, plan, pieceType, sumType, partElements };
    const slotBytes = exchangeBytes(layout, bucketElements + exactValues, exactValues);
    this.#reducer.prepare(plan, maxOpen * slotBytes);
    const outboxes = new Map(
      members.filter((id) => id !== self).map((id) => [
        id,
        new Outbox(this.#transport, id, (error) => {
          if (this.#epoch?.epoch === epoch) this.lost(id, String(error));
        }),
      ]),
    );
    this.#epoch = {
      ...layout,
      epoch,
      reducer: this.#reducer,
      post: (member, frame, sent) => outboxes.get(members[member])?.push(frame, sent),
      outboxes,
      slotBytes,
    };
    this.#error = null;
    this.#last = { step, bucket: -1 };
    this.#freeSlots = Array.from({ length: maxOpen }, (_, slot) => slot);
    this.#takeEarly();
  }

  /**
   * Opens a bucket as soon as there is room: from then on the other members' parts can come in. All members run the
   * same program: they open the same buckets of the same lengths, in ascending order of step and bucket, and wait for
   * sums at the same places.
   *
   * @param exact so many at its end travel in float32, whatever the wire types are; they begin at a multiple of 16
   * @throws ExchangeError
   */
  async open(step: number, bucket: number, length: number, exact = 0): Promise<Bucket> {
    const { bucketElements, exactValues } = this.#options;
    if (length - exact > bucketElements || exact > exactValues) {
      throw new Error(
        `A bucket of ${length} elements, ${exact} of them exact, expected at most ${bucketElements} and ${exactValues}`,
      );
    }
    const slot = await this.#takeSlot();
    const epoch = this.#running();
    const place = { step, bucket };
    if (!isAfter(place, this.#last)) throw new Error(`Bucket ${bucket} of step ${step} is out of order`);
    const at = this.#reducer.arena + slot * epoch.slotBytes;
    const memory = new ExchangeMemory(epoch, length, exact, this.#reducer.memory.buffer, at);
    const exchange = new Exchange(epoch, step, bucket, memory);
    this.#open.set(placeName(place), exchange);
    this.#last = place;
    this.#takeEarly();
    return {
      pieces: memory.pieces,
      sum: memory.sum,
      final: (from, to) => exchange.final(from, to),
      reduce: () => {
        exchange.start();
        return exchange.result;
      },
      release: () => {
        if (this.#open.get(placeName(place)) !== exchange) return;
        if (!exchange.isOver) {
          throw new Error(`Bucket ${bucket} of step ${step} is released before it is reduced`);
        }
        this.#open.delete(placeName(place));
        this.#giveSlot(slot);
      },
    };
  }

  /**
   * Takes a frame from a peer's link. The promise, if there is one, resolves when the frame was consumed: it had come
   * before its bucket was opened here. A frame of an epoch that has ended is dropped.
   *
   * @throws ExchangeError if the frame breaks the protocol, which ends the epoch: close the link
   */
  receive(peer: string, frame: Frame): void | Promise<void> {
    this.arrivals.note(peer, frame.step, performance.now());
    if (!this.#isEarly(frame)) return this.#take(peer, frame);
    const taken = Promise.withResolvers<void>();
    this.#early.push({ peer, frame, taken });
    return taken.promise;
  }

  /** Says that a peer's links are gone: the epoch ends if it is a member. */
  lost(peer: string, reason: string): void {
    if (this.#error === null && this.#epoch?.members.includes(peer)) {
      this.#fail(new ExchangeError(`Member ${peer} is lost: ${reason}`, peer));
    }
  }

  /** Ends the epoch: everything open rejects, and nothing of it is left behind. */
  abort(reason: string): void {
    if (this.#error === null) this.#fail(new ExchangeError(reason, null));
  }

  close(): void {
    this.abort("The allreduce was closed");
    for (const { taken } of this.#early.splice(0)) taken.resolve();
    this.#reducer.close();
  }

  #fail(error: ExchangeError): ExchangeError {
    this.#error = error;
    this.#epoch?.outboxes.forEach((outbox) => outbox.clear());
    const ending = [...this.#open.values()].map((exchange) => exchange.abort(error));
    this.#ending = Promise.all([this.#ending, ...ending]);
    this.#open.clear();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#takeEarly();
    return error;
  }

  #running(): Epoch {
    if (this.#error !== null || this.#epoch === null) throw this.#error;
    return this.#epoch;
  }

  #takeSlot(): Promise<number> {
    if (this.#error !== null) return Promise.reject(this.#error);
    const slot = this.#freeSlots.shift();
    if (slot !== undefined) return Promise.resolve(slot);
    const waiting = Promise.withResolvers<number>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  #giveSlot(slot: number): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#freeSlots.push(slot);
    else next.resolve(slot);
  }

  /** Whether a frame's epoch or bucket has yet to begin here; others can be ahead by the buckets that may be open. */
  #isEarly(frame: Frame): boolean {
    if (this.#epoch === null || frame.epoch > this.#epoch.epoch) return true;
    if (frame.epoch < this.#epoch.epoch || this.#error !== null) return false;
    return isAfter(frame, this.#last) && frame.step <= this.#last.step + this.#options.maxOpen;
  }

  #take(peer: string, frame: Frame): void {
    if (this.#epoch === null || frame.epoch < this.#epoch.epoch || this.#error !== null) return;
    try {
      const { type, step, bucket } = frame;
      const member = this.#epoch.members.indexOf(peer);
      if (member < 0 || member === this.#epoch.self) throw new Error("it is not in the group");
      if (type !== "partial" && type !== "sum") throw new Error(`${type} among partials and sums`);
      const exchange = this.#open.get(placeName(frame));
      if (exchange === undefined) {
        const last = `bucket ${this.#last.bucket} of step ${this.#last.step}`;
        throw new Error(`bucket ${bucket} of step ${step}, while ${last} was opened last`);
      }
      exchange.receive(member, frame);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw this.#fail(new ExchangeError(`Member ${peer} sent a wrong frame: ${reason}`, peer));
    }
  }

  #takeEarly(): void {
    for (const early of this.#early.splice(0)) {
      if (this.#isEarly(early.frame)) {
        this.#early.push(early);
        continue;
      }
      try {
        this.#take(early.peer, early.frame);
        early.taken.resolve();
      } catch (error) {
        early.taken.reject(error);
      }
    }
  }
}
