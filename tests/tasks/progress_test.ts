import { assert, assertEquals, assertMatch } from "@std/assert";
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
const WHOLE = "   7/3000 loss 3.142 bpb 2.50 lr 7.0e-4 85 ms 24k tok/s 5.2 GF/s ETA 3m05";

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

Deno.test("formatProgress() has room for every field of ordinary runs in 80 columns", () => {
  const long = { ...LINE, step: 12_345, totalSteps: 100_000, loss: 11.23, etaSeconds: 7440 };
  for (const line of [LINE, long, { ...LINE, msPerStep: 12_345, gflops: 41_300, etaSeconds: 300_000 }]) {
    assertMatch(
      formatProgress(line, 80),
      /^ *\d+\/\d+ loss .* bpb .* lr .* m?s .* tok\/s .* [GT]F\/s ETA \w+$/,
    );
  }
});

Deno.test("formatProgress() leaves out fields until the line fits, and never wraps", () => {
  assertEquals(formatProgress(LINE, 50), "   7/3000 loss 3.142 bpb 2.50 lr 7.0e-4 85 ms");
  assertEquals(formatProgress(LINE, 18), "   7/3000");
  for (let columns = 1; columns <= WHOLE.length; columns++) {
    assert(formatProgress(LINE, columns).length < columns);
  }
});

Deno.test("formatProgress() has no time left to tell at the last step", () => {
  const last = formatProgress({ ...LINE, step: 3000, etaSeconds: 0 }, Infinity);
  assertEquals(last, WHOLE.replace("   7/", "3000/").replace(/ ETA.*/, ""));
});

Deno.test("openProgress() keeps one live line on a terminal, and leaves the last state", () => {
  const { written, screen, progress } = progressOn(24);
  progress.update(LINE);
  screen.say("checkpoint");
  progress.update({ ...LINE, step: 8 });
  progress.end();
  progress.end();
  const clear = "\r\x1b[K";
  const [seven, eight] = ["   7/3000 loss 3.142", "   8/3000 loss 3.142"];
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
  assertEquals(written.map((line) => line.slice(0, 9)), [
    "   1/3000",
    "1001/3000",
    "2001/3000",
    "3000/3000",
  ]);
});
