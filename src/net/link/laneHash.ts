/**
 * The hash that checks frames and tells whether sums agree. A *turn* is 16 words of 32 bits, one a lane; a lane is the
 * polynomial of its words:
 *
 *     lane = lane * FACTOR + mix(word)      mod 2^32, mix(x) = x ^ (x >>> 16)
 *
 * So it goes as fast as memory with SIMD (`adder.ts`), and the hash of an array follows from those of its parts: the
 * digest of a sum costs nothing beside the checksums of the frames that brought it. It finds faults, not forgers.
 */
import { xxHash32 } from "./checksum.ts";

export const LANES = 16;
export const TURN_BYTES = 4 * LANES;
/** Odd, and 5 modulo 8: its powers take the longest to repeat. */
export const FACTOR = 0xc2b2ae35 | 0;
/** The second half of a digest. */
const OTHER_SEED = 0x27d4eb2f;

/** The 16 lanes after some whole turns; what is missing of the last one counts as zeros. */
export type Lanes = Int32Array<ArrayBuffer>;

/** In JavaScript, for bytes that don't lie in a WebAssembly memory. */
export function hashBytes(bytes: Uint8Array): Lanes {
  const lanes = new Int32Array(LANES);
  if (bytes.byteOffset % 4 !== 0) bytes = bytes.slice(); // words are read where they lie
  const whole = bytes.byteLength - bytes.byteLength % TURN_BYTES;
  absorb(lanes, new Int32Array(bytes.buffer, bytes.byteOffset, whole / 4));
  if (whole < bytes.byteLength) absorb(lanes, new Int32Array(lastTurn(bytes.subarray(whole)).buffer));
  return lanes;
}

/** What is left of an array after its whole turns, with zeros behind it. */
export function lastTurn(rest: Uint8Array): Uint8Array<ArrayBuffer> {
  const turn = new Uint8Array(TURN_BYTES);
  turn.set(rest);
  return turn;
}

function absorb(lanes: Lanes, words: Int32Array): void {
  for (let at = 0; at < words.length; at += LANES) {
    for (let lane = 0; lane < LANES; lane++) {
      const word = words[at + lane];
      lanes[lane] = Math.imul(lanes[lane], FACTOR) + (word ^ (word >>> 16));
    }
  }
}

/** The lanes of a whole: of whole turns, and of the `tailBytes` behind them. */
export function joinLanes(head: Lanes, tail: Lanes, tailBytes: number): Lanes {
  const factor = power(Math.ceil(tailBytes / TURN_BYTES));
  return head.map((lane, i) => Math.imul(lane, factor) + tail[i]);
}

/** FACTOR to the power of `exponent`. */
function power(exponent: number): number {
  let [result, square] = [1, FACTOR];
  for (; exponent > 0; exponent = Math.floor(exponent / 2)) {
    if (exponent % 2 === 1) result = Math.imul(result, square);
    square = Math.imul(square, square);
  }
  return result;
}

/** What a checksum is made of: lanes, and the number of bytes. Kept, since one is made for every frame. */
const checked = new Int32Array(LANES + 2);
const checkedBytes = new Uint8Array(checked.buffer);

/** Of `bytes` bytes. @returns an unsigned number of 32 bits */
export function checksumOf(lanes: Lanes, bytes: number, seed = 0): number {
  checked.set(lanes);
  checked[LANES] = bytes;
  checked[LANES + 1] = bytes / 2 ** 32;
  return xxHash32(checkedBytes, seed);
}

/** Of `bytes` bytes. @returns 16 hexadecimal digits */
export function digestOf(lanes: Lanes, bytes: number): string {
  return [0, OTHER_SEED].map((seed) => checksumOf(lanes, bytes, seed).toString(16).padStart(8, "0")).join("");
}
