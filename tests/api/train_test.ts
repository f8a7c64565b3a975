import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { plan, type Ready, type StepLine, train, UserError } from "../../mod.ts";
import type { EngineReport } from "../../src/engine/engine.ts";
import { checkMemory } from "../../src/engine/memory.ts";
import { withFolder } from "../train/tinyRun.ts";
import { TINY } from "./support.ts";

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

Deno.test("train() with an aborted signal does no step and gives back the first weights", async () => {
  const { steps, interrupted, files } = await train(TINY, { signal: AbortSignal.abort() });
  assertEquals([steps, interrupted], [0, true]);
  assert((await files())["model.safetensors"].length > 0);
});

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
  if (isSoftware) await assertRejects(() => training, UserError, "lower train.microBatchSize");
  else assertEquals((await training).steps, 4);
});

Deno.test("checkMemory() holds software adapters to the machine's memory, and GPUs to nothing", () => {
  const report = (isSoftware: boolean): EngineReport => ({
    adapter: "test",
    isSoftware,
    microBatchSize: 1,
    columns: 1,
    parameters: [],
    bytes: { weights: 0, gradients: 0, moments: 0, activations: 3 * 2 ** 30, total: 3 * 2 ** 30 },
    flopsPerToken: 0,
    startup: { deviceMs: 0, recordMs: 0, compileMs: 0, placeMs: 0 },
  });
  const message = "needs 3.00 GiB of memory, but 1.50 GiB are free";
  assertThrows(() => checkMemory(report(true), 1.5 * 2 ** 30), UserError, message);
  checkMemory(report(true), 3 * 2 ** 30);
  checkMemory(report(false), 0);
});
