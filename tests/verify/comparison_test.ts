import { assertEquals, assertThrows } from "@std/assert";
import { compareValues } from "../../src/verify/comparison.ts";

const limit = (wanted: number) => 0.125 + Math.abs(wanted);

Deno.test("compareValues() gives the error that takes most of what it may", () => {
  // shares: 0.125 of 0.125, 0.5 of 8.125, 0 of 1.125
  assertEquals(compareValues("c", "q", [0.125, 8.5, -1], [0, 8, -1], limit), {
    case: "c",
    quantity: "q",
    maxError: 0.125,
    tolerance: 0.125,
    ok: true,
  });
  assertEquals(compareValues("c", "q", [0.25, 8.5], [0, 8], limit).ok, false);
  assertEquals(compareValues("c", "q", [2, 2], [2, 2], () => 0), {
    case: "c",
    quantity: "q",
    maxError: 0,
    tolerance: 0,
    ok: true,
  });
});

Deno.test("compareValues() takes what is no number for an infinite error, wherever it stands", () => {
  for (const found of [[NaN, 0, 0], [0, NaN, 0.5], [0, 0, Infinity], [NaN, NaN, NaN]]) {
    const { maxError, ok } = compareValues("c", "q", found, [0, 0, 0], limit);
    assertEquals([maxError, ok], [Infinity, false]);
  }
});

Deno.test("compareValues() refuses other lengths", () => {
  assertThrows(() => compareValues("c", "q", [1], [1, 2], limit), Error, "1 values");
});
