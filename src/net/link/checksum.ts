const PRIME1 = 0x9e3779b1 | 0;
const PRIME2 = 0x85ebca77 | 0;
const PRIME3 = 0xc2b2ae3d | 0;
const PRIME4 = 0x27d4eb2f;
const PRIME5 = 0x165667b1;

const rotate = (x: number, bits: number) => (x << bits) | (x >>> (32 - bits));
const mix = (lane: number, word: number) =>
  Math.imul(rotate((lane + Math.imul(word, PRIME2)) | 0, 13), PRIME1);

/**
 * xxHash32 (Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) of `bytes`, as an unsigned number.
 * A table-driven CRC-32C in JavaScript runs at a sixth of its speed, and against chance errors either will do.
 */
export function xxHash32(bytes: Uint8Array, seed = 0): number {
  if (bytes.byteOffset % 4 !== 0) bytes = bytes.slice(); // words are read where they lie
  const numWords = bytes.byteLength >>> 2;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, numWords);
  let word = 0;
  let hash = (seed + PRIME5) | 0;
  if (numWords >= 4) {
    let a = (seed + PRIME1 + PRIME2) | 0;
    let b = (seed + PRIME2) | 0;
    let c = seed | 0;
    let d = (seed - PRIME1) | 0;
    for (; word + 4 <= numWords; word += 4) {
      a = mix(a, words[word]);
      b = mix(b, words[word + 1]);
      c = mix(c, words[word + 2]);
      d = mix(d, words[word + 3]);
    }
    hash = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0;
  }
  hash = (hash + bytes.byteLength) | 0;
  for (; word < numWords; word++) {
    hash = Math.imul(rotate((hash + Math.imul(words[word], PRIME3)) | 0, 17), PRIME4);
  }
  for (let i = numWords * 4; i < bytes.byteLength; i++) {
    hash = Math.imul(rotate((hash + Math.imul(bytes[i], PRIME5)) | 0, 11), PRIME1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), PRIME2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
