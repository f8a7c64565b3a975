/** Digests of sums, and of the states that they lead to. */
import { digestOf, joinLanes, LANES, type Lanes } from "./laneHash.ts";
import { cutBuckets } from "./partition.ts";
import { createTreeSum, scratchBytes } from "./treeSum.ts";

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
  const hash = createHash();
  return {
    sum,
    digests: () =>
      cutBuckets(length, bucketElements, exactValues).map(({ from, to }) => {
        const bytes = 4 * (to - from);
        return digestOf(hash(new Uint8Array(sum.buffer, 4 * from, bytes)), bytes);
      }),
  };
}

const PAGE = 65536;
/** Of an array that is hashed: so much lies in the memory of the hash at a time, whole turns. */
const PART_BYTES = 4 * PAGE;

/** The hash of bytes that don't lie in a WebAssembly memory: as fast as if they did, however many they are. */
function createHash(): (bytes: Uint8Array) => Lanes {
  const scratch = scratchBytes(1);
  const pages = Math.ceil((scratch + PART_BYTES) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const { hash } = createTreeSum(memory, 0);
  const part = new Uint8Array(memory.buffer, scratch, PART_BYTES);
  return (bytes) => {
    let lanes: Lanes = new Int32Array(LANES);
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      const next = bytes.subarray(at, at + PART_BYTES);
      part.set(next);
      lanes = joinLanes(lanes, hash(scratch, next.length), next.length);
    }
    return lanes;
  };
}
