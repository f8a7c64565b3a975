/** What the tests of a member train: a vector, in plain arithmetic. */
import { digestOf, hashBytes } from "../../src/net/link/laneHash.ts";
import type { Applied, Departure, Replica, Snapshot } from "../../src/net/replica.ts";
import type { Share } from "../../src/net/sum/shares.ts";
import { threefry2x32 } from "../../src/random.ts";

export interface FakeOptions {
  readonly sumLength?: number;
  readonly totalSteps?: number;
}

const SEED = 7;
const CHUNK_BYTES = 1000;
const STRETCHES = 5;

export class FakeReplica implements Replica {
  readonly sumLength: number;
  readonly totalSteps: number;
  applied: Applied = { step: 0, digest: "00000000" };
  /** (sumLength) */
  state: Float32Array<ArrayBuffer>;
  /** What was called, with the step. */
  readonly calls: string[] = [];
  /** What steps had taken, by step. */
  readonly trainedMs = new Map<number, number>();
  /** Called before the sums of a step are made. */
  beforeSums: (step: number, signal: AbortSignal) => void | Promise<void> = () => {};
  /** Called after each stretch of the last piece; the last one is 0. */
  betweenStretches: (stretch: number) => void | Promise<void> = () => {};
  /** Called before another member's state is taken over. */
  beforeLoad: () => void | Promise<void> = () => {};
  /** Leaves steps out; undefined: can't. */
  skip?: (digest: string) => Promise<void>;
  /** Changes a virtual worker's gradient. */
  spoil: (step: number, gradient: Float32Array) => void = () => {};

  constructor({ sumLength = 5003, totalSteps = 6 }: FakeOptions = {}) {
    this.sumLength = sumLength;
    this.totalSteps = totalSteps;
    this.state = new Float32Array(sumLength);
  }

  /** The last piece leaves in stretches, the upper ones first. @returns a hash of the state */
  async sums(
    pieces: readonly Share[],
    into: readonly Float32Array[],
    signal: AbortSignal,
    departure?: Departure,
  ): Promise<string> {
    const step = this.applied.step + 1;
    this.calls.push(`sums ${step}`);
    await this.beforeSums(step, signal);
    signal.throwIfAborted();
    const last = pieces.length - 1;
    const sums = pieces.map(({ from, to }) => this.#sum(step, from, to));
    for (const [i, sum] of sums.slice(0, last).entries()) into[i].set(sum);
    for (let stretch = STRETCHES - 1; stretch >= 0; stretch--) {
      const [from, to] = [stretch, stretch + 1].map((end) => Math.floor(end * this.sumLength / STRETCHES));
      into[last].set(sums[last].subarray(from, to), from);
      departure?.final(from, to);
      await this.betweenStretches(stretch);
      signal.throwIfAborted();
    }
    return digestOf(hashBytes(new Uint8Array(this.state.buffer)), this.state.byteLength);
  }

  apply(sum: Float32Array, digest: string, trainedMs: number, isReplayed = false): Promise<void> {
    const step = this.applied.step + 1;
    this.trainedMs.set(step, trainedMs);
    this.calls.push(`${isReplayed ? "replay" : "apply"} ${step}`);
    this.state = this.state.map((value, i) => value - 0.125 * sum[i]);
    this.applied = { step, digest };
    return Promise.resolve();
  }

  /** From now on steps can be left out. */
  allowSkip(): void {
    this.skip = (digest) => {
      const step = this.applied.step + 1;
      this.calls.push(`skip ${step}`);
      this.applied = { step, digest };
      return Promise.resolve();
    };
  }

  snapshot(): Promise<Snapshot> {
    const bytes = new Uint8Array(this.state.slice().buffer);
    const { applied } = this;
    this.calls.push(`snapshot ${applied.step}`);
    async function* chunks() {
      for (let from = 0; from < bytes.length; from += CHUNK_BYTES) {
        yield bytes.slice(from, from + CHUNK_BYTES);
      }
    }
    return Promise.resolve({ applied, bytes: bytes.length, chunks });
  }

  async load(applied: Applied, chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<void> {
    this.calls.push(`load ${applied.step}`);
    await this.beforeLoad();
    const bytes = new Uint8Array(this.state.buffer);
    let at = 0;
    for await (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    this.applied = applied;
  }

  restore(): Promise<Applied> {
    this.calls.push("restore");
    this.state = new Float32Array(this.sumLength);
    this.applied = { step: 0, digest: "00000000" };
    return Promise.resolve(this.applied);
  }

  /** The sum over virtual workers [from, to), in the order of the tree. (sumLength) */
  #sum(step: number, from: number, to: number): Float32Array {
    if (to - from === 1) return this.#gradient(step, from);
    const middle = from + 2 ** Math.floor(Math.log2(to - from - 1));
    const [left, right] = [this.#sum(step, from, middle), this.#sum(step, middle, to)];
    return left.map((value, i) => value + right[i]);
  }

  #gradient(step: number, worker: number): Float32Array {
    const gradient = this.state.map((value, i) => {
      const [mantissa, exponent] = threefry2x32(SEED, step, worker, i);
      return value * 0.25 + (mantissa / 2 ** 32 - 0.5) * 2 ** (exponent % 24);
    });
    this.spoil(step, gradient);
    return gradient;
  }
}

/** The state after `steps` steps of one process that does everything itself. (sumLength) */
export async function trainAlone(steps: number, virtualWorkers: number, options: FakeOptions = {}) {
  const replica = new FakeReplica(options);
  const sum = new Float32Array(replica.sumLength);
  for (let step = 1; step <= steps; step++) {
    await replica.sums([{ from: 0, to: virtualWorkers }], [sum], new AbortController().signal);
    await replica.apply(sum, "00000000", 0);
  }
  return replica.state;
}
