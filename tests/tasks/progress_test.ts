import { assert, assertEquals } from "@std/assert";
import type { StepLine } from "../../src/train/metricsLog.ts";
import { formatProgress, openProgress } from "../../tasks/_progress.ts";
import { openScreen } from "../../tasks/_screen.ts";

const LINE: StepLine = {
  step: 7,
  totalSteps: 3000,
  samples: 84,
  tokens: 5376,
  loss: 3.14159,
  zLoss: 0,
  bitsPerByte: 2.5,
  learningRate: 0.0007,
  gradNorm: 1,
  tokensPerSecond: 24_040,
  msPerStep: 85.2,
  gflops: 5.21,
  etaSeconds: 185,
};
const WHOLE =
  "step     7/3,000  loss 3.1416  2.500 bits/byte  lr 7.00e-4  85.2 ms/step  24.0k tokens/s  5.21 GFLOP/s" +
  "  ETA 3 min 05 s";

function progressOn(columns: number | null) {
  const clock = { ms: 0 };
  const written: string[] = [];
  const screen = openScreen((text) => written.push(text), () => columns);
  return { clock, written, screen, progress: openProgress(screen, () => clock.ms) };
}

Deno.test("formatProgress() shows every field where there is room", () => {
  assertEquals(formatProgress(LINE, Infinity), WHOLE);
  assertEquals(formatProgress(LINE, WHOLE.length + 1), WHOLE);
});

Deno.test("formatProgress() leaves out fields until the line fits, and never wraps", () => {
  assertEquals(formatProgress(LINE, 50), "step     7/3,000  loss 3.1416  ETA 3 min 05 s");
  assertEquals(formatProgress(LINE, 18), "step     7/3,000");
  for (let columns = 1; columns <= WHOLE.length; columns++) {
    assert(formatProgress(LINE, columns).length < columns);
  }
});

Deno.test("formatProgress() has no time left to tell at the last step", () => {
  const last = formatProgress({ ...LINE, step: 3000, etaSeconds: 0 }, Infinity);
  assertEquals(last, WHOLE.replace("    7/", "3,000/").replace(/ {2}ETA.*/, ""));
});

Deno.test("openProgress() keeps one live line on a terminal, and leaves the last state", () => {
  const { written, screen, progress } = progressOn(34);
  progress.update(LINE);
  screen.say("checkpoint");
  progress.update({ ...LINE, step: 8 });
  progress.end();
  progress.end();
  const clear = "\r\x1b[K";
  const [seven, eight] = ["step     7/3,000  loss 3.1416", "step     8/3,000  loss 3.1416"];
  assertEquals(written.join(""), `${seven}${clear}checkpoint\n${seven}${clear}${eight}${clear}${eight}\n`);
});

Deno.test("openProgress() prints the first line, the last, and now and then one where there is no terminal", () => {
  const { clock, written, progress } = progressOn(null);
  for (let step = 1; step <= 3000; step++) {
    clock.ms += 10; // 30 seconds in all
    progress.update({ ...LINE, step });
  }
  progress.end();
  progress.end();
  assertEquals(written.map((line) => line.slice(0, 16)), [
    "step     1/3,000",
    "step 1,001/3,000",
    "step 2,001/3,000",
    "step 3,000/3,000",
  ]);
});
