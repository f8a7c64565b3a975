import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { createSampler, permute } from "../../src/data/sampler.ts";
import { UserError } from "../../src/errors.ts";

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b);

Deno.test("permute() is a permutation", () => {
  for (const n of [1, 2, 3, 4, 5, 65, 97, 1024, 1025]) {
    assertEquals(sorted(range(n).map((i) => permute(i, n, [7, 9]))), range(n));
  }
  assertNotEquals(
    range(97).map((i) => permute(i, 97, [7, 9])),
    range(97).map((i) => permute(i, 97, [7, 10])),
  );
  assert(permute(2 ** 40, 2 ** 41 + 1, [1, 2]) <= 2 ** 41);
});

Deno.test("createSampler() goes through all windows once an epoch, at a phase of the epoch's own", () => {
  const T = 7;
  // n windows fit at any phase into (n + 1) T tokens and more, n + 1 into (n + 2) T
  const lengths = [1, 2, 3, 65, 97].flatMap((n) => [[n, (n + 1) * T], [n, (n + 2) * T - 1]]);
  for (const [n, numTokens] of lengths) {
    const sampler = createSampler(numTokens, T + 1, 1337);
    assertEquals(sampler.windows, n);
    const phases = new Set<number>();
    for (let epoch = 0; epoch < 30; epoch++) {
      const starts = sorted(range(n).map((i) => sampler.start(epoch * n + i)));
      const phase = starts[0];
      if (epoch === 0) assertEquals(phase, 0);
      assert(phase >= 0 && phase < T);
      assertEquals(starts, range(n).map((i) => phase + i * T));
      assert(starts[n - 1] + T < numTokens);
      phases.add(phase);
    }
    assert(phases.size >= 5);
  }
});

Deno.test("createSampler() orders epochs and seeds differently, and the same each time", () => {
  const order = (seed: number, epoch: number) => {
    const sampler = createSampler(1 + 66 * 3, 4, seed);
    return range(65).map((i) => Math.floor(sampler.start(epoch * sampler.windows + i) / 3));
  };
  assertEquals(order(1, 0), order(1, 0));
  assertNotEquals(order(1, 0), order(1, 1));
  assertNotEquals(order(1, 0), order(2, 0));
});

Deno.test("createSampler() has one window where no phase fits", () => {
  for (const numTokens of [6, 7, 8, 9]) {
    const sampler = createSampler(numTokens, 6, 1);
    assertEquals(sampler.windows, 1);
    assertEquals(range(20).map((s) => sampler.start(s)), range(20).map(() => 0));
  }
});

Deno.test("createSampler() works beyond 2^32 samples", () => {
  const sampler = createSampler(1 + 98 * 4, 5, 5);
  for (const epoch of [2 ** 31, 2 ** 33 + 1, 2 ** 45]) {
    const windows = range(97).map((i) => Math.floor(sampler.start(epoch * 97 + i) / 4));
    assertEquals(sorted(windows), range(97).map((i) => i));
  }
});

Deno.test("createSampler() says how many tokens a row takes", () => {
  assertThrows(
    () => createSampler(8, 9, 1),
    UserError,
    "8 tokens, but a row takes 9: lower model.seqLen",
  );
  assertThrows(() => createSampler(0, 9, 1), UserError, "0 tokens");
  assertEquals(createSampler(9, 9, 1).windows, 1);
});
