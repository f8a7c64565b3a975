import { assert, assertEquals, assertGreaterOrEqual, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { checkpointNames, withFolder } from "../train/tinyRun.ts";

const SERVICE = fromFileUrl(new URL("../../examples/service.ts", import.meta.url));
const SETTINGS = [
  "tokenizer=chars",
  "model.numLayers=1",
  "model.modelDim=8",
  "model.numHeads=2",
  "model.seqLen=8",
  "train.batchSize=2",
  "train.duration=1000000 steps",
  "validation.every=null",
  "checkpoint.every=20 steps",
  "checkpoint.best=false",
  "log.every=1",
  "log.tensorboard=false",
  "engine.tune=false",
];

interface Status {
  readonly phase: string;
  readonly step: number;
  readonly loss: number;
  readonly etaSeconds: number;
}

/** Starts the service, on a port that is free, and stops it however the test ends. */
async function withService(
  args: string[],
  test: (url: string, process: Deno.ChildProcess) => Promise<void>,
): Promise<void> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-all", SERVICE, ...args],
    env: { PORT: "0", NO_COLOR: "1" },
    stderr: "piped",
  }).spawn();
  const overdue = setTimeout(() => process.kill("SIGKILL"), 120_000); // SIGTERM is what it answers
  const output = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
  try {
    let printed = "";
    while (!/http:\S+\//.test(printed)) {
      const { value, done } = await output.read();
      assert(!done, `the service has ended: ${printed}`);
      printed += value;
    }
    await test(/http:\S+\//.exec(printed)![0], process);
    for (let next = await output.read(); !next.done; next = await output.read()) printed += next.value;
    assertMatch(printed, /^Listening on .*\n$/); // nothing to warn of
  } finally {
    clearTimeout(overdue);
    await output.cancel();
    try {
      process.kill("SIGKILL");
    } catch {
      // it has ended, as it should
    }
    await process.status;
  }
}

async function ask<T>(url: string, init?: RequestInit, status = 200): Promise<T> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(30_000) });
  assertEquals([response.status, response.headers.get("content-type")], [status, "application/json"]);
  return await response.json();
}

/** The status once a step of this process is done; every question on the way is answered. */
async function statusInTraining(url: string): Promise<Status> {
  for (;;) {
    const status = await ask<Status>(`${url}status`);
    if (status.phase === "training") return status;
    assert(["preparing", "compiling"].includes(status.phase), JSON.stringify(status));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("service.ts answers while it trains, stops with a checkpoint, and goes on from it", async () => {
  await withFolder(async (folder) => {
    const text = join(folder, "text.txt");
    await Deno.writeTextFile(text, "the cat sat on the mat, and the dog sat on the cat.\n".repeat(20));
    const run = join(folder, "run");
    const args = [run, `data=${text}`, ...SETTINGS];
    let reached = 0;

    await withService(args, async (url, process) => {
      const first = await statusInTraining(url);
      assert(first.loss > 0 && first.etaSeconds > 0, JSON.stringify(first));
      const steps = [first.step];
      while (steps.length < 20 || steps.at(-1)! < first.step + 30) {
        steps.push((await ask<Status>(url)).step); // between its answers the training moves on
      }
      assertEquals(steps, steps.toSorted((a, b) => a - b));
      const body = JSON.stringify({ prompt: "the ", maxTokens: 5 });
      assertEquals((await (await fetch(`${url}generate`, { method: "POST", body })).text()).length, 5);
      for (const body of ["?", "null", "[]", '"the "', "{}"]) {
        const { error } = await ask<{ error: string }>(`${url}generate`, { method: "POST", body }, 400);
        assert(error.includes("prompt"), error);
      }
      // who leaves is written for no longer: the service could not end otherwise
      const endless = JSON.stringify({ prompt: "the ", maxTokens: 1e9 });
      const { body: text } = await fetch(`${url}generate`, { method: "POST", body: endless });
      const reader = text!.getReader();
      assert((await reader.read()).value!.length > 0);
      await reader.cancel();
      reached = (await ask<Status>(`${url}status`)).step;
      process.kill("SIGTERM");
      assertEquals((await process.status).code, 0);
    });
    const saved = Number(
      checkpointNames(run).map((name) => name.split("-")[1]).sort((a, b) => +a - +b).at(-1),
    );
    assertGreaterOrEqual(saved, reached);

    await withService(args, async (url, process) => {
      assertGreaterOrEqual((await statusInTraining(url)).step, saved);
      const stopped = await ask<Status>(`${url}run`, { method: "DELETE" });
      assertEquals(stopped.phase, "stopped");
      assertEquals(await ask<Status>(`${url}status`), stopped);
      assert(checkpointNames(run).includes(`step-${stopped.step}`));
      process.kill("SIGTERM");
      assertEquals((await process.status).code, 0);
    });
  });
});
