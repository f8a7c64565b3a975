import { assertEquals } from "@std/assert";
import {
  formatBytes,
  formatClock,
  formatCount,
  formatDuration,
  formatEstimate,
  formatFlop,
  formatInteger,
  formatRough,
  formatShortTime,
} from "../../tasks/_format.ts";

function assertFormats(
  format: (value: number) => string,
  cases: readonly (readonly [value: number, text: string])[],
): void {
  for (const [value, text] of cases) assertEquals(format(value), text);
}

Deno.test("formatInteger() groups digits", () => {
  assertFormats(formatInteger, [[0, "0"], [999, "999"], [842_496, "842,496"], [
    1_315_723_264,
    "1,315,723,264",
  ]]);
});

Deno.test("formatBytes() shows three digits in units of 1024", () => {
  assertFormats(formatBytes, [
    [0, "0 B"],
    [1023, "1,023 B"],
    [1024, "1.00 KiB"],
    [12_900, "12.6 KiB"],
    [1_048_575, "1.00 MiB"],
    [2 ** 33, "8.00 GiB"],
    [2 ** 62, "4,096 PiB"],
  ]);
});

Deno.test("formatCount() shows three digits in units of 1000", () => {
  assertFormats(formatCount, [
    [0, "0"],
    [3.25, "3.25"],
    [950, "950"],
    [999.6, "1.00k"],
    [9_999, "10.0k"],
    [1_315_723_264, "1.32B"],
    [3e15, "3,000T"],
  ]);
});

Deno.test("formatFlop() goes from FLOP to ZFLOP", () => {
  assertFormats(formatFlop, [
    [0, "0 FLOP"],
    [11.3e9, "11.3 GFLOP"],
    [1.32e12, "1.32 TFLOP"],
    [10_920e12, "10.9 PFLOP"],
    [3.14e23, "314 ZFLOP"],
    [3.14e25, "31,400 ZFLOP"],
  ]);
});

Deno.test("formatEstimate() shows the standard error where there is one", () => {
  assertEquals(formatEstimate(1.23456, 0.00678), "1.2346 ± 0.0068");
  assertEquals(formatEstimate(1.23456, NaN), "1.2346");
  assertEquals(formatEstimate(1.23456, null), "1.2346");
});

Deno.test("formatShortTime() shows three digits", () => {
  assertFormats(formatShortTime, [[1.337, "1.34 ms"], [85.2, "85.2 ms"], [999.7, "1.00 s"], [
    45_000,
    "45.0 s",
  ]]);
});

Deno.test("formatDuration() shows the two largest units", () => {
  assertFormats(formatDuration, [
    [0, "0 ms"],
    [84.6, "85 ms"],
    [999.7, "1.0 s"],
    [7_260, "7.3 s"],
    [9_960, "10 s"],
    [59_700, "1 min 00 s"],
    [185_000, "3 min 05 s"],
    [3_599_700, "1 h 00 min"],
    [7_440_000, "2 h 04 min"],
    [273_600_000, "3 d 04 h"],
    [Infinity, "?"],
  ]);
});

Deno.test("formatClock() shows the two largest units in few characters", () => {
  assertFormats(formatClock, [
    ...[[0, "0s"], [59.4, "59s"], [59.6, "1m00"], [185, "3m05"]] as const,
    ...[[3599.6, "1h00"], [7499, "2h04"], [86_399.6, "1d00"], [273_600, "3d04"], [Infinity, "?"]] as const,
  ]);
});

Deno.test("formatRough() shows two digits at least", () => {
  const format = (value: number) => formatRough(value, [" ms", " s"]);
  assertFormats(format, [[0.123, "0.1 ms"], [5, "5 ms"], [9.94, "9.9 ms"], [9.96, "10 ms"], [
    999.6,
    "1.0 s",
  ]]);
});
