import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { PRESETS, presetSummary } from "../../src/config/presets.ts";
import { ngramBitsPerByte } from "../../src/data/ngramBaseline.ts";
import { withFolder } from "../train/tinyRun.ts";
import { runTask, taskCommand } from "./verbs.ts";

const TEXT = "the quick brown fox jumps over the dog's hut; ".repeat(20);

/** The arguments of a tiny run in a folder, on `text`. */
async function tiny(folder: string, text: string, ...more: string[]): Promise<string[]> {
  await Deno.writeTextFile(join(folder, "text.txt"), text);
  return [
    "--runs",
    join(folder, "my runs"),
    `data=${join(folder, "text.txt")}`,
    "tokenizer=chars",
    "model.numLayers=1",
    "model.modelDim=8",
    "model.numHeads=2",
    "model.seqLen=8",
    "train.batchSize=2",
    "train.duration=1_234 steps",
    "validation.every=617 steps",
    "log.every=1",
    "log.tensorboard=false",
    "log.sampleTokens=3",
    "engine.tune=false",
    ...more,
  ];
}

Deno.test("train prints few lines where there is no terminal, and what to do next", async () => {
  await withFolder(async (folder) => {
    const short = ["train.duration=6 steps", "optimizer.warmup=2 steps", "validation.every=3 steps"];
    const args = await tiny(folder, TEXT, ...short);
    const { code, stdout, stderr } = await runTask("train", ...args, "log.samplePrompt=the dog's ");
    assertEquals([code, stderr], [0, ""]);
    const lines = stdout.trimEnd().split("\n");
    assertMatch(lines[0], /text\.txt: 828 tokens to train on, 92 held out$/);
    assertMatch(lines[1], /^1\.\d\dk parameters, .* steps$/);
    const steps = lines.filter((line) => /^\d\/6 /.test(line));
    assertMatch(steps[0], /^1\/6 loss .* ETA /);
    assertMatch(steps.at(-1)!, /^6\/6 loss .*F\/s$/);
    assert(steps.length < 6, stdout);
    assertEquals(lines.filter((line) => line.includes("held-out loss")).map((line) => line.slice(0, 6)), [
      "step 3",
    ]);
    assertEquals(lines.filter((line) => line.startsWith("held out: loss")).length, 1);

    const [train, heldOut] = [TEXT.slice(0, 828), TEXT.slice(828)].map((text) =>
      new TextEncoder().encode(text)
    );
    const [second] = ngramBitsPerByte(train, heldOut, [2]);
    const counts = lines.find((line) => line.startsWith("for comparison"));
    assert(counts?.includes(`${second.toFixed(3)} (order 2), `), counts);

    const hint = `deno task generate "${join(folder, "my runs", "default")}" --prompt "the dog's "`;
    assert(lines.at(-1)!.endsWith(`: ${hint}`), lines.at(-1));
  });
});

Deno.test("train names a prompt that the model can read", async () => {
  await withFolder(async (folder) => {
    const args = await tiny(folder, "0123456789".repeat(60), "train.duration=1 steps");
    const { code, stdout, stderr } = await runTask("train", ...args, "log.samplePrompt=interface ");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, / --prompt \d{10}\n$/);
  });
});

Deno.test("train says how to go on where it was interrupted", async () => {
  await withFolder(async (folder) => {
    const child = taskCommand("train", ...await tiny(folder, TEXT, "train.duration=1e9 steps")).spawn();
    const stderr = new Response(child.stderr).text();
    let printed = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (!printed.includes(" loss ") && text.includes(" loss ")) child.kill("SIGINT");
      printed += text;
    }
    assertEquals([(await child.status).code, await stderr], [130, ""]);
    const run = join(folder, "my runs", "default");
    const last = printed.trimEnd().split("\n").at(-1)!;
    assertMatch(last, /^stopped after step [\d,]+; the same command goes on from there \(/);
    assert(last.endsWith(`(${run})`) && !printed.includes("deno task generate"), printed);
  });
});

Deno.test("train --dry-run prints numbers that people can read", async () => {
  await withFolder(async (folder) => {
    const { code, stdout, stderr } = await runTask("train", ...await tiny(folder, TEXT), "--dry-run");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^Parameters {4}1,\d{3}$/m);
    assertMatch(stdout, /^Peak {10}[\d.]+ KiB$/m);
    assertMatch(stdout, /^Operations {4}[\d.]+ kFLOP a step$/m);
    assertMatch(stdout, /^Steps {9}1,234$/m);
    assert(!/^(Host|Group|Newcomers) /m.test(stdout), stdout);
    const host = ["scale.virtualWorkers=5", "engine.hostSums=true"];
    const group = await runTask("train", ...await tiny(folder, TEXT), ...host, "--dry-run", "--nodes", "3");
    assertEquals([group.code, group.stderr], [0, ""]);
    assertMatch(group.stdout, /^Host {10}[\d.]+ KiB for partial sums$/m);
    assert(!group.stdout.includes("is rounded"), group.stdout);
    const rounded = await runTask("train", ...await tiny(folder, TEXT), "scale.wire=bf16", "--dry-run");
    assertMatch(rounded.stdout, /^Host {10}[\d.]+ KiB for what is rounded$/m);
    const sizes =
      /^Group {9}[\d.]+ MiB of each host's memory \(5 virtual workers are shared by 3 nodes\): [\d.]+ KiB for sums/m;
    assertMatch(group.stdout, sizes);
    assertMatch(group.stdout, /^Newcomers {5}[\d.]+ [KM]iB more at most, on a node from which one copies$/m);
    const crowd = await runTask("train", ...await tiny(folder, TEXT), ...host, "--dry-run", "--nodes", "9");
    assertMatch(crowd.stdout, /^Group {9}.* \(5 virtual workers are shared by 9 nodes: 4 stand by\): /m);
    const alone = await runTask("train", ...await tiny(folder, TEXT), "--nodes", "3");
    assertEquals([alone.code, alone.stdout], [1, ""]);
    assertMatch(alone.stderr, /^error: --nodes is given, but no group to train with; [^\n]+\n$/);
    const quiet = await runTask("train", ...await tiny(folder, TEXT), "--quiet");
    assertMatch(quiet.stderr, /^error: --quiet is given, but no group to be quiet about; [^\n]+\n$/);
  });
});

Deno.test("train --dry-run shows what a model takes that does not fit, without reading a text", async () => {
  // a row of logits is larger than this binding, whatever the adapter
  const args = ["preset=bloom-176b", "data=.", "engine.maxBinding=1000000", "--dry-run"];
  const { code, stdout, stderr } = await runTask("train", ...args);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^Corpus {8}not read, /m);
  assertMatch(stdout, /^Parameters {4}176,247,271,424$/m);
  for (const row of ["Weights", "Gradients", "Moments", "Activations", "Peak", "Operations"]) {
    assertMatch(stdout, new RegExp(`^${row} +[\\d.]+ `, "m"));
  }
  assertMatch(stdout, /\nDoes not fit {2}.*(bytes|buffer|binding).*: .+\n$/);

  const missing = await runTask("train", ...args, "data=/nowhere");
  assertEquals([missing.code, missing.stdout], [1, ""]);
  assertMatch(missing.stderr, /^error: Cannot read the corpus \/nowhere: .*\n$/);
});

Deno.test("train --help lists the presets with what they are", async () => {
  const { code, stdout } = await runTask("train", "--help");
  assertEquals(code, 0);
  for (const [name, text] of Object.entries(PRESETS)) {
    const line = stdout.split("\n").find((line) => line.trim().startsWith(`${name} `));
    assert(line?.endsWith(presetSummary(text)), name);
  }
});
