import { assertEquals, assertNotEquals } from "@std/assert";
import { checksumOf, digestOf, FACTOR, hashBytes, joinLanes } from "../../src/net/link/laneHash.ts";
import { createTreeSum } from "../../src/net/sum/treeSum.ts";
import { randomBytes, randomNumbers } from "./sockets.ts";

const LENGTHS = [0, 1, 3, 63, 64, 65, 127, 128, 1000, 4096];
const random = randomNumbers(7);

/** As it is defined, with integers of any size. */
function hashByDefinition(bytes: Uint8Array): number[] {
  const padded = new Uint8Array(Math.ceil(bytes.length / 64) * 64);
  padded.set(bytes);
  const words = new Uint32Array(padded.buffer);
  return Array.from({ length: 16 }, (_, lane) => {
    let value = 0n;
    for (let at = lane; at < words.length; at += 16) {
      value = value * BigInt(FACTOR) + BigInt((words[at] ^ (words[at] >>> 16)) >>> 0);
    }
    return Number(BigInt.asIntN(32, value));
  });
}

Deno.test("hashBytes() is the polynomial of each lane, wherever the bytes lie; a TreeSum's is the same", () => {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
  const { hash } = createTreeSum(memory, 0);
  for (const length of LENGTHS) {
    const bytes = randomBytes(length, random);
    const expected = hashByDefinition(bytes);
    assertEquals([...hashBytes(bytes)], expected, `${length} bytes`);
    const shifted = new Uint8Array(length + 1).subarray(1);
    shifted.set(bytes);
    assertEquals([...hashBytes(shifted)], expected, `${length} bytes, shifted`);
    new Uint8Array(memory.buffer).set(bytes, 80_000);
    assertEquals([...hash(80_000, length)], expected, `${length} bytes in memory`);
  }
});

Deno.test("joinLanes() makes the whole's hash of its parts'", () => {
  for (const cut of [0, 64, 640]) {
    for (const length of LENGTHS) {
      const bytes = randomBytes(cut + length, random);
      const [head, tail] = [bytes.subarray(0, cut), bytes.subarray(cut)].map(hashBytes);
      assertEquals(joinLanes(head, tail, length), hashBytes(bytes), `${cut} and ${length} bytes`);
    }
  }
});

Deno.test("checksumOf() and digestOf() see every bit, the length, and signs that change together", () => {
  const bytes = randomBytes(200, random);
  const lanes = hashBytes(bytes);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const other = bytes.slice();
    other[bit >> 3] ^= 1 << (bit & 7);
    assertNotEquals(checksumOf(hashBytes(other), 200), checksumOf(lanes, 200), `bit ${bit}`);
    assertNotEquals(digestOf(hashBytes(other), 200), digestOf(lanes, 200), `bit ${bit}`);
  }
  assertNotEquals(checksumOf(hashBytes(new Uint8Array(3)), 3), checksumOf(hashBytes(new Uint8Array(4)), 4));
  const negated = new Float32Array(bytes.slice().buffer).map((x) => -x);
  assertNotEquals(digestOf(hashBytes(new Uint8Array(negated.buffer)), 200), digestOf(lanes, 200));
});
