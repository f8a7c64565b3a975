import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { drawer, dropoutKeeps, normals, Stream, threefry2x32, uniform } from "../src/random.ts";

Deno.test("threefry2x32() gives Random123's known answers", () => {
  assertEquals(threefry2x32(0, 0, 0, 0), [0x6b200159, 0x99ba4efe]);
  assertEquals(
    threefry2x32(0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff),
    [0x1cb996fc, 0xbb002be7],
  );
  assertEquals(
    threefry2x32(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3),
    [0xc4923a9c, 0x483df7a0],
  );
});

Deno.test("uniform() is spread evenly over [0, 1)", () => {
  const bins = new Array(8).fill(0);
  for (let i = 0; i < 8000; i++) {
    const value = uniform(3, Stream.test, 0, i);
    assert(value >= 0 && value < 1);
    bins[Math.floor(value * 8)]++;
  }
  for (const bin of bins) assertAlmostEquals(bin, 1000, 150); // five standard deviations
});

Deno.test("normals() has the mean, variance, skew and kurtosis of N(0, std)", () => {
  const std = 0.5;
  const values = normals(40001, std, 7, Stream.test, 0);
  const moment = (power: number) => values.reduce((sum, x) => sum + (x / std) ** power, 0) / values.length;
  assertAlmostEquals(moment(1), 0, 0.025); // each limit is five standard deviations
  assertAlmostEquals(moment(2), 1, 0.036);
  assertAlmostEquals(moment(3), 0, 0.1);
  assertAlmostEquals(moment(4), 3, 0.25);
});

Deno.test("normals() does not depend on how many are asked for", () => {
  assertEquals(normals(65, 1, 7, Stream.init, 2), normals(131, 1, 7, Stream.init, 2).subarray(0, 65));
});

Deno.test("normals() differs by seed, stream and substream", () => {
  const draw = (seed: number, stream: Stream, sub: number) => normals(3, 1, seed, stream, sub);
  const first = draw(7, Stream.init, 2);
  for (const other of [draw(8, Stream.init, 2), draw(7, Stream.test, 2), draw(7, Stream.init, 3)]) {
    assertNotEquals(first, other);
  }
});

Deno.test("drawer() draws every number below its bound about as often, a function of the key alone", () => {
  const draws = (seed: number, index: number, stream: Stream = Stream.test) => {
    const draw = drawer(seed, stream, index);
    return Array.from({ length: 7000 }, () => draw(7));
  };
  const first = draws(1, 2);
  for (let value = 0; value < 7; value++) {
    const count = first.filter((drawn) => drawn === value).length;
    assertAlmostEquals(count, 1000, 5 * Math.sqrt(7000 * 6 / 49));
  }
  assertEquals(draws(1, 2), first);
  for (const other of [draws(2, 2), draws(1, 3), draws(1, 2 + 2 ** 32), draws(1, 2, Stream.objective)]) {
    assertNotEquals(other, first);
  }
});

Deno.test("dropoutKeeps() drops at the given rate", () => {
  const n = 20000;
  for (const rate of [0, 0.1, 0.5, 0.9]) {
    const site = { seed: 0xffffffff, step: 12, site: 3 };
    let dropped = 0;
    for (let element = 0; element < n; element++) if (!dropoutKeeps(site, 5, element, rate)) dropped++;
    assertAlmostEquals(dropped / n, rate, 5 * Math.sqrt(rate * (1 - rate) / n));
  }
});

Deno.test("dropoutKeeps() differs by seed, step, site and sample", () => {
  const mask = (seed: number, step: number, site: number, sample: number) =>
    Array.from({ length: 131 }, (_, element) => dropoutKeeps({ seed, step, site }, sample, element, 0.5));
  const first = mask(1, 2, 3, 4);
  assertEquals(first, mask(1, 2, 3, 4));
  for (const other of [mask(9, 2, 3, 4), mask(1, 9, 3, 4), mask(1, 2, 9, 4), mask(1, 2, 3, 9)]) {
    assertNotEquals(first, other);
  }
});
