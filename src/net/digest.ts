/**
 * XXH64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) with seed 0 over shared memory: at about
 * 15 GB/s thirty times as fast as the exchange itself. It finds faults, not forgers.
 */
import type { Adder } from "./adder.ts";

/** Bytes of scratch memory that a digest needs. */
export const LANES_BYTES = 32;

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

const wrap = (value: bigint) => BigInt.asUintN(64, value);
const rotate = (value: bigint, count: bigint) => wrap(value << count) | (value >> (64n - count));
const round = (lane: bigint, input: bigint) => wrap(rotate(wrap(lane + input * P2), 31n) * P1);

/**
 * @param lanes address of LANES_BYTES of scratch memory, a multiple of 8
 * @returns 16 hexadecimal digits
 */
export function xxh64(
  adder: Adder,
  buffer: ArrayBufferLike,
  lanes: number,
  at: number,
  bytes: number,
): string {
  const view = new DataView(buffer);
  const end = at + bytes;
  const stripes = Math.floor(bytes / 32);
  let hash = P5;
  if (stripes > 0) {
    [P1 + P2, P2, 0n, -P1].forEach((lane, i) => view.setBigUint64(lanes + 8 * i, wrap(lane), true));
    adder.hashStripes(lanes, at, stripes);
    const sums = [0, 1, 2, 3].map((i) => view.getBigUint64(lanes + 8 * i, true));
    hash = wrap([1n, 7n, 12n, 18n].reduce((sum, count, i) => sum + rotate(sums[i], count), 0n));
    for (const sum of sums) hash = wrap((hash ^ round(0n, sum)) * P1 + P4);
  }
  hash = wrap(hash + BigInt(bytes));
  let rest = at + 32 * stripes;
  for (; rest + 8 <= end; rest += 8) {
    hash = wrap(rotate(hash ^ round(0n, view.getBigUint64(rest, true)), 27n) * P1 + P4);
  }
  for (; rest + 4 <= end; rest += 4) {
    hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint32(rest, true)) * P1), 23n) * P2 + P3);
  }
  for (; rest < end; rest++) {
    hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint8(rest)) * P5), 11n) * P1);
  }
  hash = wrap((hash ^ (hash >> 33n)) * P2);
  hash = wrap((hash ^ (hash >> 29n)) * P3);
  return (hash ^ (hash >> 32n)).toString(16).padStart(16, "0");
}
