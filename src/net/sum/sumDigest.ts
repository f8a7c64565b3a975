/** Digests of sums, and of the states that they lead to. */
import { digestOf } from "../link/laneHash.ts";
import { createBulkHash } from "./bulkHash.ts";
import { cutBuckets } from "./partition.ts";

/**
 * The digest of the state after a step: SHA-256 over the digest of the state before it, the step and the
 * digests of its sum's buckets. 64 hexadecimal digits.
 *
 * @param buckets in the order of {@linkcode cutBuckets}, as an allreduce gives them
 */
export async function digestAfter(before: string, step: number, buckets: readonly string[]): Promise<string> {
  const text = new TextEncoder().encode([before, step, ...buckets].join("/"));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
}

/** A sum that came whole from another member. */
export interface SumMemory {
  /** (length), shared memory, to be filled */
  readonly sum: Float32Array<ArrayBufferLike>;
  /** Of its buckets, the same as those of the allreduce that made it. */
  digests(): string[];
}

export function allocateSum(length: number, bucketElements: number, exactValues = 0): SumMemory {
  const sum = new Float32Array(new SharedArrayBuffer(4 * length));
  const hash = createBulkHash();
  return {
    sum,
    digests: () =>
      cutBuckets(length, bucketElements, exactValues).map(({ from, to }) => {
        const bytes = 4 * (to - from);
        return digestOf(hash(new Uint8Array(sum.buffer, 4 * from, bytes)), bytes);
      }),
  };
}
