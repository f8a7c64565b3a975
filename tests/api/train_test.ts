import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import { plan, type Ready, type RunSettings, type StepLine, train, UserError } from "../../mod.ts";
import type { EngineNeeds } from "../../src/engine/report.ts";
import { checkMemory } from "../../src/engine/memory.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { withFolder } from "../train/tinyRun.ts";
import { TEXT, TINY } from "./support.ts";

let digest: Promise<string> | null = null;

/** The digest of `TINY`, trained once. */
function tinyDigest(): Promise<string> {
  return digest ??= train(TINY).then((result) => result.digest);
}

Deno.test("train() without a folder gives back what a folder would hold", async () => {
  const lines: StepLine[] = [];
  const validated: number[] = [];
  const compiled: [number, number][] = [];
  let ready: Ready | null = null;
  const inMemory = await train(TINY, {
    onReady: (found) => ready = found,
    onCompile: (done, total) => compiled.push([done, total]),
    onProgress: (line) => lines.push(line),
    onValidation: (step) => validated.push(step),
    finalPrompt: "the ",
  });
  assertEquals([inMemory.steps, inMemory.interrupted, inMemory.folder], [4, false, null]);
  assertEquals(lines.map(({ step }) => step), [1, 2, 3, 4]);
  assertEquals(validated, [2, 4]);
  assertEquals(ready!.totalSteps, 4);
  assertEquals(ready!.dataset.hash, inMemory.dataset.hash);
  const [done, total] = compiled.at(-1)!;
  assert(total > 0 && done === total);
  assert(inMemory.sample!.startsWith("the ") && inMemory.sample!.length > 4);

  await withFolder(async (folder) => {
    const kept = await train(TINY, { folder });
    assertEquals(kept.folder, folder);
    assertEquals(kept.sample, null);
    assertEquals(kept.digest, inMemory.digest);
    assertEquals(kept.validation, inMemory.validation);
    const files = await inMemory.files();
    assertEquals(files, await kept.files());
    const checkpoint = join(folder, "checkpoints", "step-4");
    assertEquals(files["model.safetensors"], await Deno.readFile(join(checkpoint, "model.safetensors")));
    assertEquals(files["config.json"], await Deno.readTextFile(join(checkpoint, "config.json")));
    assertEquals(files["tokenizer.json"], await Deno.readTextFile(join(checkpoint, "tokenizer.json")));
  });
});

Deno.test("train() stops at a signal and goes on in the same folder to the same end", async () => {
  await withFolder(async (folder) => {
    const stop = new AbortController();
    const stopped = await train(TINY, {
      folder,
      signal: stop.signal,
      onProgress: ({ step }) => step === 3 && stop.abort(),
    });
    assertEquals([stopped.steps, stopped.interrupted, stopped.validation], [3, true, null]);
    const messages: string[] = [];
    const rest = await train(TINY, { folder, onMessage: (text) => messages.push(text) });
    assertEquals([rest.steps, rest.interrupted, rest.digest], [4, false, await tinyDigest()]);
    assertEquals(messages, ["Going on from step 3 of 4"]);
  });
});

Deno.test("train() ends at once with the reason of a signal that comes before the first step, and leaves no folder", async () => {
  await withFolder(async (runs) => {
    const stopAt = async (moment: "start" | "onCompile" | "onReady") => {
      const stop = new AbortController();
      const abort = () => stop.abort(new Error(`stopped at ${moment}`));
      if (moment === "start") abort();
      const options = { folder: join(runs, moment), signal: stop.signal, [moment]: abort };
      await assertRejects(() => train(TINY, options), Error, `stopped at ${moment}`);
    };
    await stopAt("start");
    await stopAt("onCompile");
    await stopAt("onReady");
    assertEquals([...Deno.readDirSync(runs)], []);
  });
});

Deno.test("train() leaves no folder of a run that can't start", async () => {
  await withFolder(async (runs) => {
    const { isSoftware } = await plan(TINY);
    const mistakes: [RunSettings, string][] = [
      [{ ...TINY, model: { ...TINY.model, numHeads: 3 } }, "multiple of model.numHeads"],
      [{ ...TINY, model: { ...TINY.model, seqLen: 5000 } }, "a row takes 5001"],
      [{ ...TINY, data: join(runs, "missing.txt") }, "missing.txt"],
      [{ ...TINY, data: { text: "" } }, "empty"],
      [{ ...TINY, train: { ...TINY.train, rampUp: { start: 2, increment: 2, samples: 9 } } }, "rampUp"],
    ];
    if (isSoftware) mistakes.push([TINY, "of memory"]);
    for (const [settings, message] of mistakes) {
      const training = train(settings, { folder: join(runs, "run"), freeMemory: 1000 });
      await assertRejects(() => training, UserError, message);
      assertEquals([...Deno.readDirSync(runs)], [], message);
    }
  });
});

Deno.test("train() finds what keeps a run from going on before it makes an engine", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    await train(TINY, { folder: run });
    let isMade = false;
    const assertRefused = async (settings: RunSettings, message: string) => {
      const training = train(settings, { folder: run, onCompile: () => isMade = true });
      await assertRejects(() => training, UserError, message);
      assert(!isMade, message);
    };
    const data = { text: TEXT.replaceAll("cat", "dog") };
    for (const name of ["data.json", "tokens.bin", "documents.bin"]) Deno.removeSync(join(run, "data", name));
    await assertRefused({ ...TINY, data }, "was made with other data");
    for (const step of [2, 4]) Deno.truncateSync(join(run, "checkpoints", `step-${step}`, "state.json"), 9);
    await assertRefused(TINY, ", and none before it is intact; restore the file");
  });
});

Deno.test("train() says that the text has changed since the run began, and goes on with the tokens it keeps", async () => {
  await withFolder(async (folder) => {
    const stop = new AbortController();
    const onProgress = ({ step }: StepLine) => step === 2 && stop.abort();
    await train(TINY, { folder, signal: stop.signal, onProgress });
    const messages: string[] = [];
    const changed = { ...TINY, data: { text: TEXT.toUpperCase() } };
    const { digest } = await train(changed, { folder, onMessage: (text) => messages.push(text) });
    assertEquals(digest, await tinyDigest());
    assertEquals(messages, [
      "The corpus (text) is not what the run began with: going on with the tokens that the run keeps",
      "Going on from step 2 of 4",
    ]);
  });
});

Deno.test("plan() counts the memory of the GPU that a run then takes, to 10%", async () => {
  const settings: RunSettings = {
    ...TINY,
    model: { numLayers: 2, modelDim: 64, numHeads: 4, seqLen: 32 },
    train: { batchSize: 8, microBatchSize: 8, duration: "2 steps" },
  };
  const { device } = await openGpu();
  try {
    const { bytes } = await plan(settings, { device });
    const measured = measureBuffers(device);
    await train(settings, { device, finalPrompt: "the " });
    assert(measured.peak > 1e6, "too little to be of interest");
    assertAlmostEquals(bytes.total, measured.peak, 0.1 * measured.peak);
  } finally {
    device.destroy();
  }
});

/** Keeps the largest sum of bytes that a device's buffers have at a time. */
function measureBuffers(device: GPUDevice): { readonly peak: number } {
  const create = device.createBuffer.bind(device);
  let bytes = 0;
  let peak = 0;
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    bytes += buffer.size;
    peak = Math.max(peak, bytes);
    buffer.destroy = () => {
      bytes -= buffer.size;
      destroy();
    };
    return buffer;
  };
  return {
    get peak() {
      return peak;
    },
  };
}

Deno.test("train() runs on a device of the caller's and leaves it open", async () => {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  try {
    const { digest } = await train(TINY, { device });
    assertEquals(digest, await tinyDigest());
    const lost = device.lost.then(() => "lost");
    const working = device.queue.onSubmittedWorkDone().then(() => "working");
    assertEquals(await Promise.race([lost, working]), "working");
  } finally {
    device.destroy();
  }
});

Deno.test("train() twice at the same time comes to what each comes to alone", async () => {
  const [first, second] = await Promise.all([train(TINY), train({ ...TINY, seed: 7 })]);
  assertEquals(first.digest, await tinyDigest());
  assertEquals(second.digest, (await train({ ...TINY, seed: 7 })).digest);
  assertNotEquals(first.digest, second.digest);
});

Deno.test("train() says before it allocates that memory is too little", async () => {
  const { isSoftware } = await plan(TINY);
  const training = train(TINY, { freeMemory: 1000 });
  if (isSoftware) await assertRejects(() => training, UserError, "choose a smaller model");
  else assertEquals((await training).steps, 4);
});

Deno.test("checkMemory() holds software adapters to the machine's memory, and GPUs to nothing", () => {
  const report = (isSoftware: boolean): EngineNeeds => ({
    adapter: "test",
    isSoftware,
    microBatchSize: 1,
    columns: 1,
    parameters: [],
    optimizerState: [],
    sumLength: 0,
    hostSumBytes: 0,
    bytes: { weights: 0, gradients: 0, moments: 0, activations: 3 * 2 ** 30, total: 3 * 2 ** 30 },
    flopsPerToken: 0,
    startup: { deviceMs: 0, recordMs: 0, compileMs: 0, placeMs: 0 },
  });
  const message = "needs 3.00 GiB of memory, but 1.50 GiB are free";
  assertThrows(() => checkMemory(report(true), 1.5 * 2 ** 30), UserError, message);
  checkMemory(report(true), 3 * 2 ** 30);
  checkMemory(report(false), 0);
});
