/** Sums of pieces in tree order within one shared memory, on whichever thread calls it. */
import { type Adder, createAdder } from "./adder.ts";
import { checksumOf, LANES, type Lanes, lastTurn, TURN_BYTES } from "./laneHash.ts";
import type { SumPlan } from "./tree.ts";

/** Addresses in bytes, multiples of 4; regions don't overlap, but `out` may be a piece. */
export interface SumJob {
  /** Of every piece of the plan. */
  readonly pieces: readonly number[];
  /** Gets the sum; the other pieces stay as they are. */
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

export interface Summed {
  readonly nonFinite: NonFinite | null;
  /** Hash of the sum, see laneHash.ts. */
  readonly lanes: Lanes;
  /** Of what the job sends: the sum, or its upper halves. */
  readonly checksum: number;
}

export interface TreeSum {
  readonly kind: Adder["kind"];
  sum(plan: SumPlan, job: SumJob): Summed;
  /** See laneHash.ts. */
  hash(at: number, bytes: number): Lanes;
  packBf16: Adder["packBf16"];
  unpackBf16: Adder["unpackBf16"];
}

/** Elements that stay in the first-level cache while they go through the whole tree: whole turns of the hash. */
const BLOCK = 4096;
const ALIGNMENT = 64;

/** Bytes of scratch memory that one thread needs for trees over `virtualWorkers`. */
export function scratchBytes(virtualWorkers: number): number {
  return 2 * ALIGNMENT + Math.ceil(Math.log2(virtualWorkers) + 1) * 4 * BLOCK;
}

/** @param scratch address of scratchBytes() that belong to this thread alone, a multiple of 64 */
export function createTreeSum(memory: WebAssembly.Memory, scratch: number): TreeSum {
  const { buffer } = memory;
  const adder = createAdder(memory);
  const bytes = new Uint8Array(buffer);
  const lanes = new Int32Array(buffer, scratch, LANES);
  const turn = scratch + ALIGNMENT;
  const registers = scratch + 2 * ALIGNMENT;

  /** Takes bytes into the lanes; after a turn that is not whole there are no more. */
  function absorb(at: number, length: number): void {
    const rest = length % TURN_BYTES;
    adder.hashTurns(scratch, at, (length - rest) / TURN_BYTES);
    if (rest === 0) return;
    bytes.set(lastTurn(bytes.subarray(at + length - rest, at + length)), turn);
    adder.hashTurns(scratch, turn, 1);
  }

  function hash(at: number, length: number): Lanes {
    lanes.fill(0);
    absorb(at, length);
    return lanes.slice();
  }

  function sum(plan: SumPlan, { pieces, out, count, packTo }: SumJob): Summed {
    lanes.fill(0);
    let nonFinite: NonFinite | null = null;
    for (let done = 0; done < count; done += BLOCK) {
      const length = Math.min(BLOCK, count - done);
      const addressOf = (value: number) => {
        if (value < pieces.length) return pieces[value] + 4 * done;
        return registers + 4 * BLOCK * (value - pieces.length);
      };
      for (const { target, left, right } of plan.additions) {
        adder.add(addressOf(target), addressOf(left), addressOf(right), length);
      }
      const root = addressOf(plan.root);
      if (adder.hasNonFinite(root, length) === 1) nonFinite ??= find(pieces, root, done, length);
      adder.copy(out + 4 * done, root, 4 * length);
      if (packTo !== undefined) adder.packBf16(packTo + 2 * done, out + 4 * done, length);
      absorb(out + 4 * done, 4 * length);
    }
    const ofSum = lanes.slice();
    const checksum = packTo === undefined
      ? checksumOf(ofSum, 4 * count)
      : checksumOf(hash(packTo, 2 * count), 2 * count);
    return { nonFinite, lanes: ofSum, checksum };
  }

  /** The first element that is not finite; there is one. */
  function find(pieces: readonly number[], sum: number, from: number, length: number): NonFinite {
    const valuesAt = (at: number) => new Float32Array(buffer, at, length);
    const element = valuesAt(sum).findIndex((x) => !Number.isFinite(x));
    const piece = pieces.findIndex((at) => !Number.isFinite(valuesAt(at + 4 * from)[element]));
    return { element: from + element, piece: piece < 0 ? null : piece };
  }

  return { kind: adder.kind, sum, hash, packBf16: adder.packBf16, unpackBf16: adder.unpackBf16 };
}
