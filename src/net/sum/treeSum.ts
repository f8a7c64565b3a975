/** Sums of pieces in tree order within one shared memory, on whichever thread calls it. */
import { checksumOf, LANES, type Lanes, lastTurn, TURN_BYTES } from "../link/laneHash.ts";
import { type Adder, createAdder } from "./adder.ts";
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
const TURN_ELEMENTS = TURN_BYTES / 4;
/** Places of a turn's bytes before the registers: the lanes, lanes that nobody reads, and two last turns. */
const [LANES_AT, UNREAD_AT, TURN_AT, OTHER_TURN_AT, REGISTERS_AT] = [0, 1, 2, 3, 4].map((i) =>
  i * TURN_BYTES
);

/** Bytes of scratch memory that one thread needs for trees over `virtualWorkers`. */
export function scratchBytes(virtualWorkers: number): number {
  const registers = Math.ceil(Math.log2(virtualWorkers) + 1);
  return REGISTERS_AT + (registers + 1) * 4 * BLOCK; // and zeros
}

/** @param scratch address of scratchBytes() that belong to this thread alone, a multiple of 64 */
export function createTreeSum(memory: WebAssembly.Memory, scratch: number): TreeSum {
  const { buffer } = memory;
  const adder = createAdder(memory);
  const bytes = new Uint8Array(buffer);
  const lanes = new Int32Array(buffer, scratch + LANES_AT, LANES);
  const turn = scratch + TURN_AT;
  const otherTurn = scratch + OTHER_TURN_AT;
  const zeros = scratch + REGISTERS_AT;
  const registers = zeros + 4 * BLOCK;
  new Float32Array(buffer, zeros, BLOCK).fill(-0); // x + -0 is x, also where x is -0

  /** Takes bytes into the lanes; after a turn that is not whole there are no more. */
  function absorb(at: number, length: number): void {
    const rest = length % TURN_BYTES;
    adder.hashTurns(scratch + LANES_AT, at, (length - rest) / TURN_BYTES);
    if (rest === 0) return;
    bytes.set(lastTurn(bytes.subarray(at + length - rest, at + length)), turn);
    adder.hashTurns(scratch + LANES_AT, turn, 1);
  }

  /** Adds, and takes the sum into the lanes at `lanesAt`. @returns whether it is finite */
  function addFinite(lanesAt: number, out: number, a: number, b: number, count: number): boolean {
    const rest = count % TURN_ELEMENTS;
    const whole = 4 * (count - rest);
    const found = adder.addTurns(lanesAt, out, a, b, (count - rest) / TURN_ELEMENTS);
    if (rest === 0) return found === 0;
    bytes.set(lastTurn(bytes.subarray(a + whole, a + 4 * count)), turn);
    bytes.set(lastTurn(bytes.subarray(b + whole, b + 4 * count)), otherTurn);
    const foundInRest = adder.addTurns(lanesAt, turn, turn, otherTurn, 1);
    adder.copy(out + whole, turn, 4 * rest);
    return found === 0 && foundInRest === 0;
  }

  function hash(at: number, length: number): Lanes {
    lanes.fill(0);
    absorb(at, length);
    return lanes.slice();
  }

  function sum(plan: SumPlan, { pieces, out, count, packTo }: SumJob): Summed {
    lanes.fill(0);
    let nonFinite: NonFinite | null = null;
    const additions = plan.additions.slice(0, -1);
    const last = plan.additions.at(-1);
    const lanesAt = scratch + (packTo === undefined ? LANES_AT : UNREAD_AT); // what is rounded is hashed afterwards
    for (let done = 0; done < count; done += BLOCK) {
      const length = Math.min(BLOCK, count - done);
      const addressOf = (value: number) => {
        if (value < pieces.length) return pieces[value] + 4 * done;
        return registers + 4 * BLOCK * (value - pieces.length);
      };
      for (const { target, left, right } of additions) {
        adder.add(addressOf(target), addressOf(left), addressOf(right), length);
      }
      // beside the pieces, of which `out` may be one: whose fault it is shows in them
      const a = addressOf(last === undefined ? plan.root : last.left);
      const b = last === undefined ? zeros : addressOf(last.right);
      const isFinite = addFinite(lanesAt, registers, a, b, length);
      if (!isFinite) nonFinite ??= find(pieces, registers, done, length);
      adder.copy(out + 4 * done, registers, 4 * length);
      if (packTo === undefined) continue;
      adder.packBf16(packTo + 2 * done, out + 4 * done, length);
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
