import { assertEquals } from "@std/assert";
import { createAdder } from "../../src/net/sum/adder.ts";
import { roundToBf16 } from "../../src/train/bf16.ts";

Deno.test("roundToBf16() rounds as the exchange does", () => {
  const hard = [0, 0x80000000, 1, 0x7fff, 0x8000, 0x8001, 0x18000, 0x3f808000, 0x3f818000, 0x7f7fffff];
  const special = [0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000];
  const words = Uint32Array.from(
    { length: 5000 },
    (_, i) => [...hard, ...special][i] ?? Math.imul(i, 0x9e3779b1),
  );
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const exchanged = new Uint32Array(memory.buffer, 1024, words.length);
  exchanged.set(words);
  createAdder(memory).packBf16(32768, 1024, words.length);
  roundToBf16(new Float32Array(words.buffer));
  assertEquals(words, exchanged.slice());
});
