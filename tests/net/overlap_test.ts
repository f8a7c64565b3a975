import { assertEquals } from "@std/assert";
import { Overlap } from "../../src/net/overlap.ts";

/** Steps of a run whose time depends on the number of parts; returns the numbers that were used. */
function partsOf(
  steps: number,
  stepMs: (parts: number) => number,
  exposed = 0.5,
  overlap = new Overlap(),
): number[] {
  return Array.from({ length: steps }, () => {
    const { parts } = overlap;
    overlap.step(stepMs(parts), exposed);
    return parts;
  });
}

const last = (numbers: readonly number[]) => numbers.at(-1)!;

Deno.test("Overlap takes the number of parts with the shortest steps, and tries no more once it gets worse", () => {
  const stall = (parts: number) => 100 + 300 / parts + 11 * (parts - 1);
  assertEquals(partsOf(17, stall), [1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 4, 4, 4, 4]);
  assertEquals(last(partsOf(20, (parts) => 100 + 20 / parts + 11 * (parts - 1))), 1);
  assertEquals(last(partsOf(20, (parts) => 100 + 1000 / parts)), 8);
});

Deno.test("Overlap keeps to one part where there is nothing to gain", () => {
  assertEquals(new Set(partsOf(20, (parts) => 100 / parts, 0.01)), new Set([1]));
  assertEquals(last(partsOf(20, (parts) => 100 - parts)), 1);
});

Deno.test("Overlap forgives a slow step, and measures anew in the next epoch", () => {
  const overlap = new Overlap();
  let step = 0;
  assertEquals(last(partsOf(20, (parts) => (++step % 3 === 0 ? 900 : 100 / parts), 0.5, overlap)), 8);
  overlap.restart();
  assertEquals(partsOf(5, () => 100, 0.5, overlap), [1, 1, 1, 1, 2]);
});
