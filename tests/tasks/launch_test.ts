import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { runTask, taskCommand, TINY } from "./verbs.ts";

/** Its three virtual workers make uneven shares for two nodes. */
const LONGER = [...TINY, "train.duration=24 steps", "checkpoint.every=10 steps"];

const digestIn = (json: string) => JSON.parse(json.trim().split("\n").at(-1)!).digest;

/** The processes that another one has started. */
function childrenOf(pid: number): number[] {
  return Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim().split(" ").filter(Boolean).map(
    Number,
  );
}

/** The node that was started last. */
function lastNodeOf({ pid }: Deno.ChildProcess): number {
  const isNode = (pid: number) => Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("train.ts");
  return childrenOf(pid).findLast(isNode)!;
}

/** Launches with `--json`, does something when six steps are done, and waits for the end. */
async function launchAndAct(args: readonly string[], act: (launch: Deno.ChildProcess) => void) {
  const launch = taskCommand("launch", ...args).spawn();
  const said = new Response(launch.stderr).text();
  let [stdout, hasActed] = ["", false];
  for await (const text of launch.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += text;
    if (hasActed || !stdout.includes('{"step":6,')) continue;
    hasActed = true;
    act(launch);
  }
  const [status, stderr] = [await launch.status, await said];
  assert(hasActed, stderr);
  return { status, stdout, stderr };
}

Deno.test({
  name: "launch: two nodes, one killed on the way, end with the digest of one alone",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(
        join(folder, "text.txt"),
        "the quick brown fox jumps over the lazy dog; ".repeat(20),
      );
      const settings = [`data=${join(folder, "text.txt")}`, ...LONGER];
      const alone = await runTask("train", "--json", "--runs", join(folder, "alone"), ...settings);
      assertEquals(alone.code, 0, alone.stderr);

      const args = ["--nodes", "2", "--runs", join(folder, "runs"), "--json", "train", ...settings];
      const launched = await launchAndAct(args, (launch) => Deno.kill(lastNodeOf(launch), "SIGKILL"));
      const { status, stdout, stderr: said } = launched;
      assertEquals(status.code, 0, said);
      assertStringIncludes(said, "was ended by SIGKILL; starting it again");
      // one coordinator, which nobody has started by hand, and which sees a good end
      assertEquals(said.match(/Listens on .*/g)?.map((line) => line.includes("members come with")), [false]);
      assertStringIncludes(said, "The run is finished after step 24");
      assert(!said.includes("step 25 is begun again"), said);
      // who was lost is said by the coordinator alone
      const losses = said.split("\n").filter((line) => /node-1.*is begun again/.test(line));
      assert(losses.length > 0 && losses.every((line) => line.startsWith("[coordinator] ")), said);
      assertMatch(said, /^\[coordinator\] .* begins with step \d+ and 1 node: node-0$/m);
      assert(!/^\[\d\] .*(begins|is lost|is here)/m.test(said), said);
      assertEquals(digestIn(stdout), digestIn(alone.stdout));
      assertEquals([...Deno.readDirSync(join(folder, "runs"))].map(({ name }) => name), ["default"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "launch ends with its run, also where a node is stopped and hears of nothing",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const text = join(folder, "text.txt");
      await Deno.writeTextFile(text, "the quick brown fox jumps over the lazy dog; ".repeat(20));
      const args = ["--nodes", "2", "--runs", join(folder, "runs"), "--json", "train", ...LONGER];
      let stopped = 0;
      const { status, stdout, stderr } = await launchAndAct([...args, `data=${text}`], (launch) => {
        stopped = lastNodeOf(launch);
        Deno.kill(stopped, "SIGSTOP");
      });
      assertEquals(status.code, 0, stderr);
      assert(stopped > 0 && !isRunning(stopped));
      assertEquals(JSON.parse(stdout.trim().split("\n").at(-1)!).steps, 24);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

/** Whether a process runs; one that has ended may wait for somebody to ask for its exit code. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

Deno.test({
  name: "launch: its coordinator and nodes end, with a checkpoint, where it is killed itself",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(
        join(folder, "text.txt"),
        "jackdaws love my big sphinx of quartz; ".repeat(20),
      );
      const endless = [`data=${join(folder, "text.txt")}`, ...TINY, "train.duration=1000000 steps"];
      const settings = [...endless, "checkpoint.every=1000000 steps"];
      const children: number[] = [];
      const args = ["--nodes", "2", "--runs", folder, "--json", "train", ...settings];
      const { status, stderr } = await launchAndAct(args, (launch) => {
        children.push(...childrenOf(launch.pid));
        launch.kill("SIGKILL");
      });
      assertEquals(status.signal, "SIGKILL", stderr);
      assertEquals(children.length, 3);
      for (let polls = 0; children.some(isRunning); polls++) {
        assert(polls < 2000, `${children.filter(isRunning)} still run`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      const saved = [...Deno.readDirSync(join(folder, "default", "checkpoints"))].map(({ name }) => name);
      assertEquals(saved.length, 1, saved.join());
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("launch: mistakes are one line each, with exit code 1", async () => {
  const mistakes: [string[], string][] = [
    [["--nodes", "2"], "Found nothing to launch"],
    [["--nodes", "2", "generate"], "Found generate to launch, expected train"],
    [
      ["--nodes", "2", "trian"],
      "Found trian to launch, the nearest known one is train: launch --nodes N train",
    ],
    [["train"], "--nodes is not given"],
    [["--nodes", "0", "train"], "--nodes is 0"],
    [["--nodes", "2", "train", "--dry-run"], "deno task train --dry-run --nodes 2 with the same settings"],
    [["--nodes", "2", "train", "from=nowhere"], "a node that keeps no run folder reads its config.json"],
    [["--nodes", "2", "train"], "set scale.virtualWorkers=2 or more"],
    [["--nodes", "2", "train", "model.numLayer=2"], "numLayers"],
  ];
  for (const [args, expected] of mistakes) {
    const { code, stdout, stderr } = await runTask("launch", ...args);
    assertEquals([code, stdout], [1, ""], stderr);
    assertStringIncludes(stderr, expected);
    assertEquals(stderr.trim().split("\n").length, 1, stderr);
  }
});

Deno.test("launch --json ends with what its nodes say is wrong, once", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const missing = join(folder, "no such text");
    const args = ["--nodes", "2", "--runs", folder, "--json", "train", ...TINY, `data=${missing}`];
    const { code, stdout, stderr } = await runTask("launch", ...args);
    assertEquals(code, 1, stderr);
    const { error, exitCode } = JSON.parse(stdout);
    assertEquals(exitCode, 1);
    assertStringIncludes(error, missing);
    assertStringIncludes(stderr, `] error: ${error}\n`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
