/** Where the partial sums of a tree wait for their twins: on the GPU, or in the host's memory. */
import type { Program, Runtime } from "../gpu/program.ts";
import type { Partial } from "./layout.ts";
import { readSum, writeSum } from "./sumTransfer.ts";

/** Sums of 2^level virtual workers, one a level: at any time few of the levels have one. */
export interface WaitingSums {
  /** Forgets them all. */
  clear(): void;
  /** Keeps the running sum, which the caller then clears. */
  put(level: number): void | Promise<void>;
  /** Adds the level's sum to the running one, and forgets it. */
  add(level: number): void | Promise<void>;
  /** Says that the running sum is read or changed by others next. */
  settle(): void | Promise<void>;
  /** Where they wait on the GPU: in which of the places the level's sum is. */
  readonly onDevice?: (level: number) => number;
  /** Where they wait on the host: what is there of the level's sum. (sumLength) */
  readonly onHost?: (level: number) => Float32Array;
}

/** What waits for each level, in places that are used again. */
class Places<T> {
  readonly #free: T[];
  readonly #taken = new Map<number, T>();

  constructor(places: readonly T[] = []) {
    this.#free = [...places];
  }

  /** Undefined: there is none. */
  take(): T | undefined {
    return this.#free.pop();
  }

  put(level: number, place: T): void {
    this.#taken.set(level, place);
  }

  at(level: number): T {
    const place = this.#taken.get(level);
    if (place === undefined) throw new Error(`Nothing waits at level ${level}`);
    return place;
  }

  free(place: T): void {
    this.#free.push(place);
  }

  /** What waited there is of no use any more. */
  release(level: number): void {
    this.#free.push(this.at(level));
    this.#taken.delete(level);
  }

  clear(): void {
    for (const level of [...this.#taken.keys()]) this.release(level);
  }
}

/** @param additions for each of the others of `partials`: adds it to the running one, the first */
export function waitOnDevice(
  runtime: Runtime,
  [running, ...others]: readonly Partial[],
  additions: readonly Program[],
): WaitingSums {
  const places = new Places([...others.keys()]);
  return {
    clear: () => places.clear(),
    put(level) {
      const place = places.take();
      if (place === undefined) throw new Error(`More than ${others.length} sums wait`);
      runtime.copy(running.gradients, others[place].gradients);
      runtime.copy(running.sums, others[place].sums);
      places.put(level, place);
    },
    add(level) {
      runtime.run(additions[places.at(level)]);
      places.release(level);
    },
    settle: () => {},
    onDevice: (level) => places.at(level),
  };
}

/**
 * The same additions by the host, whose memory is taken as it is needed, once: lg(share) sums and the one that they are
 * added to. A virtual worker's sum is read once, and the whole is written back at the end.
 */
export function waitOnHost(runtime: Runtime, running: Partial): WaitingSums {
  const places = new Places<Float32Array<ArrayBuffer>>();
  /** The running sum where the host has added to it. */
  let sum: Float32Array<ArrayBuffer> | null = null;
  const read = () => readSum(runtime, running, places.take());
  return {
    clear: () => places.clear(),
    async put(level) {
      places.put(level, sum ?? await read());
      sum = null;
    },
    async add(level) {
      sum ??= await read();
      const other = places.at(level);
      for (let i = 0; i < sum.length; i++) sum[i] += other[i];
      places.release(level);
    },
    async settle() {
      if (sum === null) return;
      await writeSum(runtime, running, sum);
      places.free(sum);
      sum = null;
    },
    onHost: (level) => places.at(level),
  };
}
