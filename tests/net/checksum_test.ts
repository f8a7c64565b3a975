import { assertEquals, assertNotEquals } from "@std/assert";
import { xxHash32 } from "../../src/net/link/checksum.ts";
import { randomBytes, randomNumbers } from "./sockets.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("xxHash32() gives the published values", () => {
  const values: [string, number][] = [
    ["", 0x02cc5d05],
    ["a", 0x550d7456],
    ["as", 0x9d5a0464],
    ["asd", 0x3d83552b],
    ["asdf", 0x5e702c32],
    ["Call me Ishmael. Some years ago--never mind how long precisely-", 0x6f320359],
  ];
  for (const [text, hash] of values) assertEquals(xxHash32(encode(text)), hash, text);
});

Deno.test("xxHash32() sees every bit, the length and the seed", () => {
  const bytes = randomBytes(65, randomNumbers(1));
  const hash = xxHash32(bytes);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const other = bytes.slice();
    other[bit >> 3] ^= 1 << (bit & 7);
    assertNotEquals(xxHash32(other), hash, `bit ${bit}`);
  }
  assertNotEquals(xxHash32(new Uint8Array(3)), xxHash32(new Uint8Array(4)));
  assertNotEquals(xxHash32(bytes, 1), hash);
});

Deno.test("xxHash32() doesn't depend on where the bytes lie", () => {
  const bytes = randomBytes(77, randomNumbers(2));
  for (const offset of [0, 1, 2, 3, 4, 8]) {
    const shared = new Uint8Array(new SharedArrayBuffer(100), offset, bytes.length);
    shared.set(bytes);
    assertEquals(xxHash32(shared), xxHash32(bytes), `offset ${offset}`);
  }
});
