import { assertEquals } from "@std/assert";
import { Overlap } from "../../src/net/sum/overlap.ts";

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

Deno.test("Overlap takes more parts for as long as that saves time", () => {
  const stalls = (parts: number) => 100 + 300 / parts + 11 * (parts - 1);
  assertEquals(partsOf(14, stalls), [2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 4, 4, 4, 4]);
  assertEquals(partsOf(12, (parts) => 100 + 1000 / parts), [2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8]);
});

Deno.test("Overlap takes one part where more save nothing", () => {
  const stalls = (parts: number) => 100 + 11 * (parts - 1);
  assertEquals(partsOf(12, stalls), [2, 2, 2, 2, 4, 4, 4, 1, 1, 1, 1, 1]);
  assertEquals(partsOf(12, stalls, 0.01), [2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
  assertEquals(partsOf(12, (parts) => (parts === 2 ? 100 : 110)), [2, 2, 2, 2, 4, 4, 4, 1, 1, 1, 2, 2]);
});

Deno.test("Overlap forgives a slow step, and measures anew in the next epoch", () => {
  const overlap = new Overlap();
  let step = 0;
  assertEquals(partsOf(20, (parts) => (++step % 3 === 0 ? 900 : 100 / parts), 0.5, overlap).at(-1), 8);
  overlap.restart();
  assertEquals(partsOf(5, (parts) => 100 / parts, 0.5, overlap), [2, 2, 2, 2, 4]);
});
