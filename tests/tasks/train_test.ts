import {
  assert,
  assertEquals,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import { runTask, taskCommand, TINY } from "./verbs.ts";

async function inFolder(test: (folder: string, runs: string[]) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      join(folder, "text.txt"),
      "the quick brown fox jumps over the lazy dog; ".repeat(20),
    );
    await test(folder, ["--runs", join(folder, "runs"), `data=${join(folder, "text.txt")}`, ...TINY]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== null;
  } catch {
    return false;
  }
}

function digestOf(stdout: string): string {
  const match = /digest ([0-9a-f]{64})/.exec(stdout);
  assert(match !== null, stdout);
  return match[1];
}

/** Starts `train` and resolves once a step is done; the rest of the output is left where it is. */
async function startUntil(step: number, ...args: string[]): Promise<Deno.ChildProcess> {
  const child = taskCommand("train", "--json", ...args).spawn();
  child.stderr.cancel();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  while (!seen.includes(`{"step":${step},`)) {
    const { value, done } = await reader.read();
    assert(!done, `the run ended before step ${step}: ${seen}`);
    seen += value;
  }
  reader.releaseLock();
  return child;
}

/** The step of a run's newest checkpoint. */
function savedStep(run: string): number {
  const names = [...Deno.readDirSync(join(run, "checkpoints"))].map(({ name }) => name);
  return Math.max(0, ...names.map((name) => Number(/^step-(\d+)$/.exec(name)?.[1] ?? 0)));
}

Deno.test("train: a run killed and interrupted at any moment ends with the digest of one that never stopped", async () => {
  await inFolder(async (folder, args) => {
    // Without an end, it is stopped in the middle for certain; how long a run is changes nothing before its end.
    const endless = [...args, "train.duration=1e9 steps", "optimizer.decay=15 steps"];
    const signals = [["SIGKILL", 137], ["SIGTERM", 130]] as const;
    const steps: number[] = [];
    for (const [signal, code] of signals) {
      const child = await startUntil(5, ...endless, `name=${signal}`);
      child.kill(signal);
      assertEquals((await child.status).code, code);
      steps.push(savedStep(join(folder, "runs", signal)));
    }
    const rest = [...endless, `train.duration=${Math.max(...steps) + 4} steps`];
    const whole = await runTask("train", ...rest, "name=whole");
    assertEquals(whole.code, 0, whole.stderr);
    for (const [i, [signal]] of signals.entries()) {
      const again = await runTask("train", ...rest, `name=${signal}`);
      assertEquals(again.code, 0, again.stderr);
      assertStringIncludes(again.stdout, `Going on from step ${steps[i]} of`);
      assertEquals(digestOf(again.stdout), digestOf(whole.stdout), signal);
    }
  });
});

Deno.test("train: a signal, or two at once, drops a step of minutes, saves the one before, and the run goes on", async () => {
  await inFolder(async (folder, args) => {
    // A first step of 2 samples, then one of 500,000 micro-batches.
    const slow = [
      ...args,
      "train.batchSize=1000000",
      'train.rampUp={"start":2,"increment":999998,"samples":2}',
      "train.duration=2 steps",
      "optimizer.schedule=constant",
    ];
    const digests: string[] = [];
    for (const signals of [["SIGINT"], ["SIGINT", "SIGTERM"]] as const) {
      const name = `name=stopped-${signals.length}`;
      const child = await startUntil(1, ...slow, name);
      const begin = performance.now();
      for (const signal of signals) child.kill(signal);
      assertEquals((await child.status).code, 130);
      assertLess(performance.now() - begin, 10_000);
      assertEquals(savedStep(join(folder, "runs", `stopped-${signals.length}`)), 1);
      const again = await runTask("train", ...slow, name, "train.duration=1 steps");
      assertEquals(again.code, 0, again.stderr);
      digests.push(digestOf(again.stdout));
    }
    assertEquals(digests[0], digests[1]);
  });
});

Deno.test("train --dry-run counts parameters, memory and operations, and writes nothing", async () => {
  await inFolder(async (folder, args) => {
    const dry = await runTask("train", ...args, "--dry-run", "--json");
    assertEquals(dry.code, 0, dry.stderr);
    const plan = JSON.parse(dry.stdout);
    assertEquals(plan.totalSteps, 12);
    assert(plan.parameters > 0 && plan.flopsPerStep > 0 && plan.bytes.total > plan.bytes.weights);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["text.txt"]);
  });
});

Deno.test("train --json prints steps and the result as JSON, and text on stderr", async () => {
  await inFolder(async (_folder, args) => {
    const { code, stdout, stderr } = await runTask("train", ...args, "--json", "train.duration=3");
    assertEquals(code, 0, stderr);
    const lines = stdout.trim().split("\n").map((line) => JSON.parse(line));
    const steps = lines.filter((line) => "loss" in line);
    assertEquals(steps.map(({ step }) => step), [1, 2, 3]);
    assertMatch(lines.at(-1).digest, /^[0-9a-f]{64}$/);
    assertStringIncludes(stderr, "held out");
    assertLessOrEqual(steps[2].loss, steps[0].loss + 1);
  });
});

Deno.test("train: mistakes are one line each, with exit code 1", async () => {
  await inFolder(async (folder, args) => {
    const binary = join(folder, "binary.dat");
    await Deno.writeFile(binary, new Uint8Array([0, 1, 2, 0]));
    const empty = join(folder, "empty.txt");
    await Deno.writeTextFile(empty, "");
    const mistakes: [string[], string][] = [
      [["model.numLayer=2"], "numLayers"],
      [["model.numLayers=two"], "model.numLayers"],
      [["runs=elsewhere"], "unknown key runs, presets/default.jsonc has every key"],
      [[""], "Found an empty argument, expected a config"],
      [["model.modelDim=10"], "multiple of model.numHeads"],
      [["model.seqLen=100000"], "tokens"],
      [[`data=${binary}`], "binary.dat"],
      [[`data=${empty}`], "empty"],
      [[`data=${join(folder, "missing")}`], "missing"],
      [[join(folder, "missing.jsonc")], "missing.jsonc"],
      [["preset=gpt5"], "gpt5"],
      [["engine.maxBinding=1024"], "engine.maxBinding"],
    ];
    for (const [extra, expected] of mistakes) {
      const { code, stderr } = await runTask("train", ...args, ...extra);
      assertEquals(code, 1, `${extra}: ${stderr}`);
      assertStringIncludes(stderr, expected);
      assertEquals(stderr.trim().split("\n").length, 1, stderr);
      assert(!exists(join(folder, "runs", "default")), `${extra} left a folder`);
    }
  });
});

Deno.test("train from=RUN goes on with another run's weights and tokenizer on a new text", async () => {
  await inFolder(async (folder, args) => {
    const other = join(folder, "other.txt");
    await Deno.writeTextFile(
      other,
      "a slow green turtle walks under the busy cat, again and again. ".repeat(15),
    );
    const bpe = ["tokenizer=bpe", "bpeVocabSize=280", "train.duration=2"];
    const first = await runTask("train", ...args, ...bpe, "name=first");
    assertEquals(first.code, 0, first.stderr);
    const source = join(folder, "runs", "first");
    const second = await runTask("train", ...args, ...bpe, "name=second", `from=${source}`, `data=${other}`);
    assertEquals(second.code, 0, second.stderr);
    assertEquals(
      await Deno.readTextFile(join(folder, "runs", "second", "tokenizer.json")),
      await Deno.readTextFile(join(source, "tokenizer.json")),
    );
  });
});

Deno.test("train ends well where the sample's prompt can't be written in the corpus's characters", async () => {
  await inFolder(async (folder, args) => {
    const digits = join(folder, "digits.txt");
    await Deno.writeTextFile(digits, "0123456789".repeat(60));
    const run = await runTask("train", ...args, "tokenizer=chars", "train.duration=1", `data=${digits}`);
    assertEquals(run.code, 0, run.stderr);
    digestOf(run.stdout);
  });
});
