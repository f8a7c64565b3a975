/** A service's own arrays as what a member of a group works on. */
import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import type { Applied, Departure, Replica, Snapshot } from "../net/replica.ts";
import { ExchangeError } from "../net/sum/allreduce.ts";
import type { Share } from "../net/sum/shares.ts";
import { SubtreeSum } from "../net/sum/subtreeSum.ts";
import { type ArrayLayout, type ArrayLengths, type Arrays, whyNotFinite } from "./arrayLayout.ts";

/** What a virtual worker adds. */
export interface WorkerPart {
  /** From 0 to `virtualWorkers`, excluded. */
  readonly worker: number;
  /** Counts the group's sums, from 1. */
  readonly step: number;
  /** Aborts when what is made is of no use any more: a member was lost, and the shares are others. */
  readonly signal: AbortSignal;
}

/** Writes a virtual worker's part of a sum into arrays that are all zeros. */
export type FillArrays<A extends ArrayLengths> = (
  arrays: Arrays<A>,
  part: WorkerPart,
) => void | Promise<void>;

/** A sum over all virtual workers. */
export interface ArraySums<A extends ArrayLengths> {
  /** Which of the group's sums it is, from 1. */
  readonly step: number;
  /** Names the sum and all before it: the same on all members. */
  readonly digest: string;
  readonly arrays: Arrays<A>;
}

/** What a service keeps from the sums, for members that come later. Called only while it waits in `allReduce`. */
export interface ServiceState {
  /** A copy of the state as it is after the last sum, at most 1 GiB. */
  save(): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
  /** Takes over what another member has saved after its sum `step`. */
  load(state: Uint8Array<ArrayBuffer>, step: number): void | Promise<void>;
}

interface Call<A extends ArrayLengths> extends PromiseWithResolvers<ArraySums<A>> {
  readonly fill: FillArrays<A>;
}

const MAX_STATE_BYTES = 2 ** 30;
const CHUNK_BYTES = 2 ** 20;
const NO_STATE: ServiceState = { save: () => new Uint8Array(), load: () => {} };

/**
 * The sums that a service asks for, one after the other, as the steps of a group. What the group wants of the service,
 * its parts and its state, waits until the service asks for the next sum: it is then between two of them.
 */
export class ArrayReplica<A extends ArrayLengths> implements Replica {
  readonly sumLength: number;
  readonly totalSteps = Infinity;
  readonly #layout: ArrayLayout<A>;
  readonly #subtrees: SubtreeSum;
  readonly #state: ServiceState;
  #applied: Applied;
  #call: Call<A> | null = null;
  /** Resolves when there is a call. */
  #called = Promise.withResolvers<void>();
  /** Rejects when the service leaves or its part is over. */
  readonly #left = Promise.withResolvers<never>();
  #end: { readonly error: unknown } | null = null;

  private constructor(layout: ArrayLayout<A>, state: ServiceState, applied: Applied) {
    this.#layout = layout;
    this.sumLength = layout.length;
    this.#subtrees = new SubtreeSum(layout.length);
    this.#state = state;
    this.#applied = applied;
    this.#left.promise.catch(() => {}); // whoever waits hears of it
  }

  /** @param applied where the service stands; by default at the beginning, which its state names */
  static async open<A extends ArrayLengths>(
    layout: ArrayLayout<A>,
    state: ServiceState = NO_STATE,
    applied?: Applied,
  ): Promise<ArrayReplica<A>> {
    const first = applied ??
      { step: 0, digest: createHash("sha256").update(await state.save()).digest("hex") };
    return new ArrayReplica(layout, state, first);
  }

  get applied(): Applied {
    return this.#applied;
  }

  /** See `Group.allReduce`. */
  allReduce(fill: FillArrays<A>): Promise<ArraySums<A>> {
    if (this.#end !== null) return Promise.reject(this.#end.error);
    if (this.#call !== null) return Promise.reject(new Error("A member asks for one sum at a time"));
    const call = { fill, ...Promise.withResolvers<ArraySums<A>>() };
    this.#call = call;
    this.#called.resolve();
    return call.promise;
  }

  /** Nothing is asked of the service any more; what it waits for, or asks for later, rejects. */
  end(error: unknown): void {
    this.#end ??= { error };
    this.#left.reject(new ExchangeError("It leaves", null));
    this.#call?.reject(this.#end.error);
    this.#call = null;
  }

  async sums(
    pieces: readonly Share[],
    into: readonly Float32Array[],
    signal: AbortSignal,
    departure?: Departure,
  ): Promise<void> {
    const call = await this.#asked(signal);
    const step = this.#applied.step + 1;
    try {
      for (const [i, { from, to }] of pieces.entries()) {
        await this.#subtrees.sum(from, to, into[i], async (worker, values) => {
          await call.fill(this.#layout.split(values), { worker, step, signal });
          signal.throwIfAborted();
          if (this.#end !== null) throw new ExchangeError("It leaves", null);
        });
        const fault = whyNotFinite(this.#layout, into[i]);
        if (fault !== null) throw new UserError(`${fault} in this member's part of sum ${step}`);
      }
      departure?.final(0, this.sumLength);
    } catch (error) {
      if (!signal.aborted && this.#end === null) this.end(error);
      throw error;
    }
  }

  async apply(sum: Float32Array, digest: string): Promise<void> {
    const step = this.#applied.step + 1;
    const call = await this.#asked().catch(() => null); // it leaves: the others have this sum
    this.#applied = { step, digest };
    if (call === null) return;
    this.#call = null;
    this.#called = Promise.withResolvers();
    call.resolve({ step, digest, arrays: this.#layout.split(new Float32Array(sum)) });
  }

  async snapshot(): Promise<Snapshot> {
    await this.#asked();
    const applied = this.#applied;
    const bytes = new Uint8Array(await this.#state.save());
    if (bytes.length > MAX_STATE_BYTES) {
      throw new UserError(
        `The service's state has ${bytes.length} bytes, expected at most ${MAX_STATE_BYTES}`,
      );
    }
    return { applied, bytes: bytes.length, chunks: () => ReadableStream.from(chunksOf(bytes)) };
  }

  /** The service gets a state only when it is whole. */
  async load(applied: Applied, chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<void> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > MAX_STATE_BYTES) throw new Error(`A state of more than ${MAX_STATE_BYTES} bytes`);
      parts.push(chunk);
    }
    await this.#asked();
    await this.#state.load(new Uint8Array(await new Blob(parts).arrayBuffer()), applied.step);
    this.#applied = applied;
  }

  nameOf(element: number): string {
    return this.#layout.nameOf(element);
  }

  /** The service's state is always whole. */
  restore(): Promise<Applied> {
    return Promise.resolve(this.#applied);
  }

  /** The sum that the service waits for, as soon as it asks for one. Rejects when it leaves, or with the signal's reason. */
  async #asked(signal?: AbortSignal): Promise<Call<A>> {
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const abort = () => aborted.reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    try {
      while (this.#call === null) {
        await Promise.race([aborted.promise, this.#left.promise, this.#called.promise]);
      }
      return this.#call;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

function* chunksOf(bytes: Uint8Array<ArrayBuffer>): Generator<Uint8Array<ArrayBuffer>> {
  for (let from = 0; from < bytes.length; from += CHUNK_BYTES) yield bytes.subarray(from, from + CHUNK_BYTES);
}
