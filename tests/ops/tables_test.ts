import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { alibiSlopes, distanceBuckets, rotaryTable, sinusoidTable } from "../../src/ops/tables.ts";

Deno.test("rotaryTable() has cosines, then sines, of place * base^(-2k/D)", () => {
  const [S, D, base] = [301, 6, 500];
  const table = rotaryTable(S, D, base); // (S, D)
  assertEquals(table.length, S * D);
  assertEquals([...table.subarray(0, D)], [1, 1, 1, 0, 0, 0]);
  for (const place of [1, 17, 300]) {
    for (let k = 0; k < 3; k++) {
      const angle = place / 500 ** (k / 3);
      assertAlmostEquals(table[place * D + k], Math.cos(angle), 1e-7);
      assertAlmostEquals(table[place * D + 3 + k], Math.sin(angle), 1e-7);
    }
  }
});

Deno.test("sinusoidTable() has sines, then cosines, of place / 10000^(2k/C)", () => {
  const C = 4;
  const table = sinusoidTable(3, C); // (3, C)
  const row = (place: number) =>
    [place, place / 100].map(Math.sin).concat([place, place / 100].map(Math.cos));
  assertEquals(table, Float32Array.from([0, 1, 2].flatMap(row)));
});

Deno.test("tables of angles refuse an odd number of columns", () => {
  assertThrows(() => rotaryTable(2, 3, 10000), Error, "3 columns");
  assertThrows(() => sinusoidTable(2, 5), Error, "5 columns");
});

Deno.test("alibiSlopes() halve for a power of two, and go on between those slopes for other numbers", () => {
  assertEquals([...alibiSlopes(1)], [2 ** -8]);
  assertEquals([...alibiSlopes(8)], [1, 2, 3, 4, 5, 6, 7, 8].map((h) => 2 ** -h));
  assertEquals([...alibiSlopes(6)], [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]);
  assertEquals([...alibiSlopes(3)], [2 ** -4, 2 ** -8, 2 ** -2]);
  // BLOOM's 112 heads: 64 slopes of 64, then 48 of 128.
  const slopes = alibiSlopes(112);
  assertEquals([slopes[0], slopes[63]], [Math.fround(2 ** -0.125), 2 ** -8]);
  assertEquals([slopes[64], slopes[111]], [2 ** -0.0625, 2 ** -5.9375].map(Math.fround));
});

/** The distances (query minus key, or key minus query) at which a new bucket begins, from the first that is shared on. */
function starts(buckets: Uint32Array, direction: 1 | -1, exact: number, first: number): number[] {
  const reach = (buckets.length - 1) / 2;
  const at = (distance: number) => buckets[reach + direction * distance];
  const found: number[] = [];
  for (let d = 1; d <= reach; d++) {
    if (d < exact) assertEquals(at(d), first + d, `distance ${d}`);
    else if (at(d) !== at(d - 1)) {
      assertEquals(at(d), first + exact + found.length, `distance ${d}`);
      found.push(d);
    }
  }
  return found;
}

Deno.test("distanceBuckets() of a decoder begin where T5's do, and keys after the query are in bucket 0", () => {
  const buckets = distanceBuckets({ numBuckets: 32, maxDistance: 128, bidirectional: false });
  assertEquals(buckets.length, 257);
  assertEquals(
    starts(buckets, 1, 16, 0),
    [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113],
  );
  assertEquals(new Set(buckets.subarray(0, 129)), new Set([0]));
  assertEquals(buckets[256], 31);
});

Deno.test("distanceBuckets() of an encoder have as many for keys after the query", () => {
  const buckets = distanceBuckets({ numBuckets: 32, maxDistance: 128, bidirectional: true });
  const expected = [8, 12, 16, 23, 32, 46, 64, 91];
  assertEquals(starts(buckets, 1, 8, 0), expected);
  assertEquals(starts(buckets, -1, 8, 16), expected);
  assertEquals([buckets[0], buckets[128], buckets[256]], [31, 0, 15]);
});

Deno.test("distanceBuckets() follow other numbers and distances", () => {
  // Four each way, two of them exact; the other two meet at the root of 2 * 18.
  const buckets = distanceBuckets({ numBuckets: 8, maxDistance: 18, bidirectional: true });
  assertEquals(buckets.length, 37);
  assertEquals(starts(buckets, 1, 2, 0), [2, 6]);
  assertEquals(starts(buckets, -1, 2, 4), [2, 6]);
  // Two of five are exact; the others begin at 2, 2 * 4.5^(1/3) and 2 * 4.5^(2/3).
  const odd = distanceBuckets({ numBuckets: 5, maxDistance: 9, bidirectional: false });
  assertEquals(starts(odd, 1, 2, 0), [2, 4, 6]);
});
