import { assert, assertEquals } from "@std/assert";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatProgress,
  progressLine,
} from "../../tasks/_progress.ts";

const PROGRESS = {
  step: 7,
  totalSteps: 300,
  loss: 3.14159,
  bitsPerByte: 2.5,
  learningRate: 0.0007,
  msPerStep: 85.2,
  tokensPerSecond: 24_040,
  flopsPerSecond: 5.21e9,
  remainingMs: 185_000,
};
const WHOLE =
  "step   7/300  loss 3.1416  2.500 bits/byte  lr 7.00e-4  85.2 ms/step  24.0k tokens/s  5.21 GFLOP/s" +
  "  ETA 3 min 05 s";

Deno.test("formatProgress() shows every field where there is room", () => {
  assertEquals(formatProgress(PROGRESS, Infinity), WHOLE);
  assertEquals(formatProgress(PROGRESS, WHOLE.length + 1), WHOLE);
});

Deno.test("formatProgress() leaves out fields until the line fits, and never wraps", () => {
  assertEquals(formatProgress(PROGRESS, 50), "step   7/300  loss 3.1416  ETA 3 min 05 s");
  assertEquals(formatProgress(PROGRESS, 15), "step   7/300");
  for (let columns = 1; columns <= WHOLE.length; columns++) {
    assert(formatProgress(PROGRESS, columns).length < columns);
  }
});

Deno.test("progressLine() rewrites one line on a terminal and keeps other lines above it", () => {
  let written = "";
  const line = progressLine({ write: (text) => written += text, columns: () => 30 });
  line.say("begin");
  line.update(PROGRESS);
  line.say("checkpoint");
  line.update({ ...PROGRESS, step: 8 });
  line.end();
  line.end();
  const clear = "\r\x1b[K";
  const [seven, eight] = ["step   7/300  loss 3.1416", "step   8/300  loss 3.1416"];
  assertEquals(written, `begin\n${clear}${seven}${clear}checkpoint\n${seven}${clear}${eight}\n`);
});

Deno.test("progressLine() prints plain lines where there is no terminal", () => {
  let written = "";
  const line = progressLine({ write: (text) => written += text, columns: () => null });
  line.update(PROGRESS);
  line.say("checkpoint");
  line.end();
  assertEquals(written, `${WHOLE}\ncheckpoint\n`);
});

Deno.test("formatBytes() shows three digits in units of 1024", () => {
  const cases = [[0, "0 B"], [1023, "1023 B"], [1024, "1.00 KiB"], [12_900, "12.6 KiB"], [
    1_048_575,
    "1.00 MiB",
  ], [
    2 ** 33,
    "8.00 GiB",
  ]] as const;
  for (const [bytes, text] of cases) assertEquals(formatBytes(bytes), text);
});

Deno.test("formatCount() shows three digits in units of 1000", () => {
  const cases = [[0, "0"], [3.25, "3.25"], [950, "950"], [999.6, "1.00k"], [9_999, "10.0k"], [
    1_315_723_264,
    "1.32B",
  ], [
    3e15,
    "3000T",
  ]] as const;
  for (const [count, text] of cases) assertEquals(formatCount(count), text);
});

Deno.test("formatDuration() shows the two largest units", () => {
  const cases = [
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
  ] as const;
  for (const [ms, text] of cases) assertEquals(formatDuration(ms), text);
});
