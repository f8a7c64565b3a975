import { assertEquals } from "@std/assert";
import { isDue } from "../../src/train/interval.ts";

const at = (step: number) => ({ step, samples: step * 3, tokens: step * 15 });

Deno.test("isDue() obeys when a multiple is passed, also from the middle of an interval", () => {
  const due = (value: number, unit: "steps" | "samples" | "tokens", last: number, now: number) =>
    isDue({ value, unit }, at(last), at(now), 0);
  assertEquals([1, 2, 3, 4, 5, 6].map((step) => due(3, "steps", 0, step)), [
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
  assertEquals([4, 5, 6].map((step) => due(3, "steps", 4, step)), [false, false, true]);
  assertEquals([1, 2, 3, 4].map((step) => due(10, "samples", 0, step)), [false, false, false, true]);
  assertEquals([1, 2, 3, 4].map((step) => due(31, "tokens", 0, step)), [false, false, true, true]);
});

Deno.test("isDue() measures time from the last duty, and never twice at a step", () => {
  const due = (last: number, ms: number) => isDue({ value: 2, unit: "m" }, at(last), at(5), ms);
  assertEquals([due(4, 119_999), due(4, 120_000), due(5, 120_000)], [false, true, false]);
  assertEquals(isDue({ value: 1, unit: "h" }, at(0), at(1), 3.6e6), true);
  assertEquals(isDue(null, at(0), at(5), 1e9), false);
});
