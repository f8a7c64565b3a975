/** Runs in processes of their own: killed, interrupted, out of disk. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { newestIntact } from "../../src/train/findCheckpoint.ts";
import { checkpointNames, readMetrics, readTree, tinyConfig, tinyRun, withFolder } from "./tinyRun.ts";

const SLOW_RUN = new URL("./slowRun.ts", import.meta.url).pathname;

Deno.test("runTraining() resumes exactly after SIGKILL, at whatever moment", async () => {
  const config = tinyConfig("checkpoint.every=1 steps");
  await withFolder(async (folder) => {
    const run = join(folder, "killed");
    for (const killedAfter of [1, 4]) {
      const { process, until } = startSlow(run, { batchMs: 30, readMs: 0 }, "checkpoint.every=1 steps");
      await until(() => lastCheckpoint(run) >= killedAfter);
      process.kill("SIGKILL");
      assertEquals((await process.status).signal, "SIGKILL");
    }
    await assertGoesOn(run, config);
  });
});

Deno.test("runTraining() saves the last applied step within 10 s of a signal, however long a step takes", async () => {
  await withFolder(async (folder) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const run = join(folder, signal);
      const overrides = ["checkpoint.every=null", "log.every=1"];
      const { process, until } = startSlow(run, { batchMs: 200, readMs: 0 }, ...overrides);
      await until(() => lastLogged(run) >= 2);
      const begin = performance.now();
      process.kill(signal);
      assertEquals((await process.status).code, 130);
      assertLess(performance.now() - begin, 10_000);
      const step = lastLogged(run);
      assertEquals(checkpointNames(run), [`step-${step}`]);
      assertLess(step, 7);
      await assertGoesOn(run, tinyConfig(...overrides));
    }
  });
});

Deno.test("a second signal leaves in the middle of a save, and nothing is damaged", async () => {
  await withFolder(async (run) => {
    const { process, until } = startSlow(run, { batchMs: 200, readMs: 300 }, "log.every=1");
    await until(() => lastLogged(run) >= 4); // a checkpoint is made every 3 steps
    process.kill("SIGINT");
    const begin = performance.now();
    const isHalf = (name: string) => name.startsWith(".tmp-step-");
    // sooner it counts as the same signal
    await until(() => performance.now() - begin > 1200 && checkpointNames(run).some(isHalf));
    process.kill("SIGINT");
    assertEquals((await process.status).code, 130);
    assertEquals(checkpointNames(run).filter((name) => !isHalf(name)), ["step-3"]);
    assert(checkpointNames(run).some(isHalf), "it has waited for the save");
    assertEquals((await newestIntact(join(run, "checkpoints")))?.state.step, 3);
    await assertGoesOn(run, tinyConfig("log.every=1"));
    assert(!checkpointNames(run).some(isHalf));
  });
});

Deno.test({
  name:
    "a disk that is full in the middle of a save ends the run in one line, and the checkpoint before is whole",
  ignore: Deno.build.os === "windows",
  async fn() {
    await withFolder(async (run) => {
      // 70 kB of weights, 140 kB of moments
      const config = tinyConfig("model.vocabSize=4000");
      const stop = new AbortController();
      await tinyRun(run, config, {
        signal: stop.signal,
        onAccumulate: (_, step) => step === 4 ? stop.abort() : undefined,
      });
      const before = readTree(join(run, "checkpoints", "step-3"));
      // A limit on a file's size, in blocks of 512 bytes, fails a write as a full disk does, wherever the test runs.
      const slow = `${Deno.execPath()} run -A --no-check ${SLOW_RUN} ${run} 0 0 model.vocabSize=4000`;
      const script = `trap "" XFSZ; ulimit -f 200; exec ${slow}`;
      const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script] }).output();
      const message = new TextDecoder().decode(stderr);
      const line =
        /^error: Cannot write ".*optimizer.safetensors": .*; check the folder and its free space\n$/;
      assertMatch(message, line);
      assertEquals([code, checkpointNames(run)], [1, ["step-3"]]);
      assertEquals(readTree(join(run, "checkpoints", "step-3")), before);
      await assertGoesOn(run, config);
    });
  },
});

/** Starts slowRun.ts; `until` waits for a condition, which must hold before the run is over. */
function startSlow(
  run: string,
  { batchMs, readMs }: { batchMs: number; readMs: number },
  ...overrides: string[]
) {
  const args = ["run", "-A", "--no-check", SLOW_RUN, run, `${batchMs}`, `${readMs}`, ...overrides];
  const process = new Deno.Command(Deno.execPath(), { args }).spawn();
  let isOver = false;
  process.status.then(() => isOver = true);
  const until = async (isReached: () => boolean) => {
    while (!isReached()) {
      assert(!isOver, "the run was over first");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return { process, until };
}

/** The run goes on from a checkpoint, to the same bytes as one that was never stopped. */
async function assertGoesOn(run: string, config: ReturnType<typeof tinyConfig>): Promise<void> {
  await withFolder(async (whole) => {
    const expected = await tinyRun(whole, config);
    const messages: string[] = [];
    const resumed = await tinyRun(run, config, { onMessage: (text) => messages.push(text) });
    assert(messages.some((text) => text.startsWith("Going on from step ")), messages.join());
    assertEquals(resumed, { ...expected, folder: run });
    const last = join("checkpoints", "step-7");
    assertEquals(readTree(join(run, last)), readTree(join(whole, last)));
    assertEquals(readMetrics(run), readMetrics(whole));
  });
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path) !== null;
  } catch {
    return false;
  }
}

/** The step of the newest checkpoint; 0 if there is none. */
function lastCheckpoint(run: string): number {
  if (!isThere(join(run, "checkpoints"))) return 0;
  return Math.max(0, ...checkpointNames(run).map((name) => Number(/^step-(\d+)$/.exec(name)?.[1] ?? 0)));
}

/** The last step in metrics.jsonl; 0 if there is none. */
function lastLogged(run: string): number {
  if (!isThere(join(run, "metrics.jsonl"))) return 0;
  return Number(readMetrics(run).findLast((line) => "loss" in line)?.step ?? 0);
}
