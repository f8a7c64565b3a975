/**
 * `slowRun.ts FOLDER BATCH_MS READ_MS KEY=VALUE...`: a run for tests that end it by signals. A micro-batch takes so long,
 * and the reading of a tensor after a signal.
 */
import { runVerb } from "../../tasks/_cli.ts";
import { tinyConfig, tinyRun } from "./tinyRun.ts";

const verb = {
  name: "slow",
  summary: "Trains slowly.",
  usage: "FOLDER BATCH_MS READ_MS [KEY=VALUE...]",
  operands: {},
  options: {},
  examples: [],
};

await runVerb(verb, async ({ args: [folder, batchMs, readMs, ...overrides], signal }) => {
  const pause = (ms: string) => new Promise<void>((resolve) => setTimeout(resolve, Number(ms)));
  await tinyRun(folder, tinyConfig(...overrides), {
    signal,
    onAccumulate: () => pause(batchMs),
    onRead: () => signal.aborted ? pause(readMs) : undefined,
  });
});
