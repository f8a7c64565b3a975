import { assertEquals, assertThrows } from "@std/assert";
import { hashBytes, LANES } from "../../src/net/link/laneHash.ts";
import { type Adder, createAdder, modules } from "../../src/net/sum/adder.ts";
import { assemble } from "../../src/net/sum/wasm.ts";
import { randomBytes, randomNumbers } from "./sockets.ts";
import { bits, hardVector } from "./support.ts";

const LENGTHS = [0, 1, 3, 4, 15, 16, 17, 65, 4097];

/** Both builds over a memory each: the tests hold for what every runtime gets. */
const builds = (["simd", "scalar"] as const).map((kind) => {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
  const module = new WebAssembly.Module(modules[kind]());
  const adder = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Adder;
  return { kind, memory, adder, floats: new Float32Array(memory.buffer) };
});

/** Infinities, NaNs of several payloads, subnormals, ties and their neighbours, by their bits. */
const HARD_BITS = [
  ...[
    0,
    0x80000000,
    1,
    0x80000001,
    0x7fff,
    0x8000,
    0x8001,
    0x18000,
    0x17fff,
    0x18001,
    0x3f808000,
    0x3f818000,
  ],
  ...[0x7f7fffff, 0xff7fffff, 0x7f7f7fff, 0x7f7f8000, 0x7f800000, 0xff800000],
  ...[0x7f800001, 0x7fffffff, 0xffffffff, 0x7fc00000, 0xff80ffff],
];

for (const { kind, memory, adder, floats } of builds) {
  Deno.test(`add() adds any number of elements and touches no others, ${kind}`, () => {
    for (const length of LENGTHS) {
      const [a, b] = [hardVector(length, 1), hardVector(length, 2)];
      floats.fill(7);
      floats.set(a, 5);
      floats.set(b, 5000);
      adder.add(4 * 10001, 4 * 5, 4 * 5000, length);
      const expected = a.map((x, i) => x + b[i]);
      assertEquals(bits(floats.slice(10001, 10001 + length)), bits(expected));
      assertEquals([floats[10000], floats[10001 + length]], [7, 7]);
      adder.add(4 * 5, 4 * 5, 4 * 5000, length);
      assertEquals(bits(floats.slice(5, 5 + length)), bits(expected));
    }
  });

  Deno.test(`copy() moves bytes, also where they overlap, ${kind}`, () => {
    const bytes = new Uint8Array(memory.buffer);
    const values = randomBytes(1000, randomNumbers(9));
    bytes.fill(0, 0, 3000);
    bytes.set(values, 100);
    adder.copy(140, 100, 1000);
    assertEquals(bytes.slice(140, 1140), values);
    assertEquals([...bytes.slice(100, 140), bytes[1140]], [...values.slice(0, 40), 0]);
  });

  Deno.test(`addTurns() adds as add() does, takes the sums into the lanes, and finds what is not finite, ${kind}`, () => {
    for (const turns of [0, 1, 7]) {
      const length = 16 * turns;
      const [a, b] = [hardVector(length, 3), hardVector(length, 4)];
      const sum = a.map((x, i) => x + b[i]);
      floats.fill(NaN);
      floats.set(a, 5000);
      floats.set(b, 9000);
      const lanes = new Int32Array(memory.buffer, 64, LANES).fill(0);
      assertEquals(adder.addTurns(64, 4 * 1001, 4 * 5000, 4 * 9000, turns), 0);
      assertEquals(bits(floats.slice(1001, 1001 + length)), bits(sum));
      assertEquals([...lanes], [...hashBytes(new Uint8Array(sum.buffer))]);
      assertEquals(floats.slice(1001 + length, 1005 + length), new Float32Array(4).fill(NaN));
      for (let place = 0; place < length; place++) {
        for (
          const [left, right] of [[NaN, 1], [1, Infinity], [-Infinity, -1], [3e38, 3e38], [-3e38, -3e38]]
        ) {
          floats[5000 + place] = left;
          floats[9000 + place] = right;
          const found = adder.addTurns(64, 4 * 1001, 4 * 5000, 4 * 9000, turns);
          assertEquals(found, 1, `${left} + ${right} at ${place} of ${length}`);
        }
        floats[5000 + place] = a[place];
        floats[9000 + place] = b[place];
      }
    }
  });

  Deno.test(`packBf16() rounds to nearest, ties to even, and keeps NaN; unpackBf16() widens in place, ${kind}`, () => {
    const words = new Uint32Array(memory.buffer);
    const halves = new Uint16Array(memory.buffer);
    words.set(HARD_BITS, 100);
    adder.packBf16(4000, 400, HARD_BITS.length);
    const rounded = [...words.slice(100, 100 + HARD_BITS.length)];
    assertEquals(rounded, HARD_BITS.map(roundedBits));
    assertEquals([...halves.slice(2000, 2000 + HARD_BITS.length)], rounded.map((word) => word >>> 16));

    halves.set(halves.slice(2000, 2000 + HARD_BITS.length), 4000 + HARD_BITS.length); // the upper half
    adder.unpackBf16(8000, 8000 + 2 * HARD_BITS.length, HARD_BITS.length);
    assertEquals([...words.slice(2000, 2000 + HARD_BITS.length)], rounded);
  });

  Deno.test(`hashTurns() goes on from lanes as hashBytes() does, ${kind}`, () => {
    const bytes = new Uint8Array(memory.buffer);
    bytes.set(randomBytes(64 * 9, randomNumbers(8)), 128);
    const lanes = new Int32Array(memory.buffer, 64, LANES).fill(0);
    for (const [from, turns] of [[0, 2], [2, 0], [2, 7]]) adder.hashTurns(64, 128 + 64 * from, turns);
    assertEquals([...lanes], [...hashBytes(bytes.slice(128, 128 + 64 * 9))]);
  });
}

Deno.test("createAdder() uses SIMD where there is some", () => {
  assertEquals(createAdder(builds[0].memory).kind, "simd");
});

Deno.test("assemble() refuses instructions and locals that it doesn't know", () => {
  const of = (body: string) => () => assemble({ f: { parameters: ["x"], body } });
  assertThrows(of("f64.add"), Error, "Unknown instruction f64.add");
  assertThrows(of("local.get y"), Error, "Unknown local y");
});

/** The nearest bfloat16 by distance in float64, as a float32's bits. */
function roundedBits(word: number): number {
  const valueOf = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0];
  if (Number.isNaN(valueOf(word))) return ((word | 0x400000) & 0xffff0000) >>> 0;
  const below = (word & 0xffff0000) >>> 0;
  const above = (below + 0x10000) >>> 0;
  // Beyond the largest finite value the next step would be 2^128.
  const aboveValue = (above & 0x7fffffff) === 0x7f800000
    ? Math.sign(valueOf(word)) * 2 ** 128
    : valueOf(above);
  if (!Number.isFinite(valueOf(word))) return word;
  const [down, up] = [valueOf(below), aboveValue].map((value) => Math.abs(value - valueOf(word)));
  if (down !== up) return down < up ? below : above;
  return (below >>> 16) % 2 === 0 ? below : above;
}
