/** Sums of pieces in tree order within one shared memory, on whichever thread calls it. */
import { type Adder, createAdder } from "./adder.ts";
import { LANES_BYTES, xxh64 } from "./digest.ts";
import type { SumPlan } from "./tree.ts";

/** Addresses in bytes, multiples of 4; regions don't overlap. */
export interface SumJob {
  /** Of every piece of the plan. */
  readonly pieces: readonly number[];
  /** Gets the sum; the pieces stay as they are. */
  readonly out: number;
  readonly count: number;
  /** If given, the sum is rounded to bfloat16 and its upper halves are written here. */
  readonly packTo?: number;
}

/** The first element of a sum that is infinite or NaN. */
export interface NonFinite {
  readonly element: number;
  /** The first piece in which it is; null: finite pieces whose sum overflows. */
  readonly piece: number | null;
}

export interface TreeSum {
  readonly kind: Adder["kind"];
  sum(plan: SumPlan, job: SumJob): NonFinite | null;
  /** XXH64, 16 hexadecimal digits. */
  digest(at: number, bytes: number): string;
  unpackBf16: Adder["unpackBf16"];
}

/** Elements that stay in the first-level cache while they go through the whole tree. */
const BLOCK = 4096;
const ALIGNMENT = 64;

/** Bytes of scratch memory that one thread needs for trees over `virtualWorkers`. */
export function scratchBytes(virtualWorkers: number): number {
  return ALIGNMENT + Math.ceil(Math.log2(virtualWorkers) + 1) * 4 * BLOCK;
}

/** @param scratch address of scratchBytes() that belong to this thread alone, a multiple of 64 */
export function createTreeSum(memory: WebAssembly.Memory, scratch: number): TreeSum {
  const adder = createAdder(memory);
  const registers = scratch + Math.max(ALIGNMENT, LANES_BYTES);

  function sum(plan: SumPlan, { pieces, out, count, packTo }: SumJob): NonFinite | null {
    if (plan.additions.length === 0) {
      const from = pieces[plan.root];
      new Uint8Array(memory.buffer).copyWithin(out, from, from + 4 * count);
    }
    let isFinite = true;
    for (let done = 0; done < count; done += BLOCK) {
      const length = Math.min(BLOCK, count - done);
      const addressOf = (value: number) => {
        if (value < pieces.length) return pieces[value] + 4 * done;
        return value === plan.root ? out + 4 * done : registers + 4 * BLOCK * (value - pieces.length);
      };
      for (const { target, left, right } of plan.additions) {
        adder.add(addressOf(target), addressOf(left), addressOf(right), length);
      }
      isFinite &&= adder.hasNonFinite(out + 4 * done, length) === 0;
    }
    const found = isFinite ? null : firstNonFinite(pieces, out, count);
    if (packTo !== undefined) adder.packBf16(packTo, out, count);
    return found;
  }

  function firstNonFinite(pieces: readonly number[], out: number, count: number): NonFinite {
    const { buffer } = memory;
    const element = new Float32Array(buffer, out, count).findIndex((x) => !Number.isFinite(x));
    const piece = pieces.findIndex((at) => !Number.isFinite(new Float32Array(buffer, at, count)[element]));
    return { element, piece: piece < 0 ? null : piece };
  }

  return {
    kind: adder.kind,
    sum,
    digest: (at, bytes) => xxh64(adder, memory.buffer, scratch, at, bytes),
    unpackBf16: adder.unpackBf16,
  };
}
