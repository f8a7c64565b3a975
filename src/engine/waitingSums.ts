/** Where the partial sums of a tree wait for their twins: on the GPU, or in the host's memory. */
import type { Program, Runtime } from "../gpu/program.ts";
import type { Partial } from "./layout.ts";
import { readSum, writeSum } from "./sumTransfer.ts";

/** Sums of 2^level virtual workers, one for each level. */
export interface WaitingSums {
  readonly levels: number;
  /** Keeps the running sum, which the caller then clears. */
  put(level: number): void | Promise<void>;
  /** Adds the level's sum to the running one. */
  add(level: number): void | Promise<void>;
  /** Says that the running sum is read or changed by others next. */
  settle(): void | Promise<void>;
  /** Where levels wait on the host: what is there of the level's sum. (sumLength) Else its values are added on the GPU. */
  readonly onHost?: (level: number) => Float32Array;
}

/** @param additions for each level: adds its sum to the running one, the first of `partials` */
export function waitOnDevice(
  runtime: Runtime,
  [running, ...levels]: readonly Partial[],
  additions: readonly Program[],
): WaitingSums {
  return {
    levels: levels.length,
    put(level) {
      runtime.copy(running.gradients, levels[level].gradients);
      runtime.copy(running.sums, levels[level].sums);
    },
    add: (level) => runtime.run(additions[level]),
    settle: () => {},
  };
}

/**
 * The same additions by the host, whose memory is taken as levels are needed, once: lg(share) sums and the one that they
 * are added to. A virtual worker's sum is read once, and the whole is written back at the end.
 */
export function waitOnHost(runtime: Runtime, running: Partial, levels: number): WaitingSums {
  const waiting = new Map<number, Float32Array<ArrayBuffer>>();
  /** The running sum where the host has added to it. */
  let sum: Float32Array<ArrayBuffer> | null = null;
  /** Arrays that hold nothing of use. */
  const free: Float32Array<ArrayBuffer>[] = [];
  const read = () => readSum(runtime, running, free.pop());
  const waitingAt = (level: number) => {
    const other = waiting.get(level);
    if (other === undefined) throw new Error(`Nothing waits at level ${level}`);
    return other;
  };
  const release = (level: number) => {
    const other = waiting.get(level);
    if (other !== undefined) free.push(other);
    waiting.delete(level);
  };
  return {
    levels,
    onHost: waitingAt,
    async put(level) {
      release(level); // of a sum that has ended
      waiting.set(level, sum ?? await read());
      sum = null;
    },
    async add(level) {
      sum ??= await read();
      const other = waitingAt(level);
      for (let i = 0; i < sum.length; i++) sum[i] += other[i];
      release(level);
    },
    async settle() {
      if (sum === null) return;
      await writeSum(runtime, running, sum);
      free.push(sum);
      sum = null;
    },
  };
}
