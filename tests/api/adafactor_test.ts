import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { plan, type RunSettings, train, UserError } from "../../mod.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { testGpu } from "../_gpu.ts";
import { withFolder } from "../train/tinyRun.ts";
import { TINY } from "./support.ts";

const SETTINGS: RunSettings = { ...TINY, optimizer: { ...TINY.optimizer, kind: "adafactor" } };

Deno.test("train() with adafactor learns", async () => {
  const { device } = await testGpu();
  const { validation } = await train({
    ...SETTINGS,
    train: { batchSize: 8, duration: "150 steps" },
    optimizer: { ...SETTINGS.optimizer, learningRate: 0.05, schedule: "linear" },
    validation: { every: null, samples: 8 },
    log: { every: 50, tensorboard: false },
  }, { device });
  assert(validation !== null && validation.loss < 1.5, `${validation?.loss}, from ln(16) = 2.8`);
});

Deno.test("train() with adafactor stops and resumes to the digest of a run that never stopped", async () => {
  const { device } = await testGpu();
  await withFolder(async (runs) => {
    const [whole, folder] = [join(runs, "whole"), join(runs, "stopped")];
    const expected = await train(SETTINGS, { folder: whole, device });
    const stop = new AbortController();
    const stopped = await train(SETTINGS, {
      folder,
      device,
      signal: stop.signal,
      onProgress: ({ step }) => step === 3 && stop.abort(),
    });
    assertEquals([stopped.steps, stopped.interrupted], [3, true]);
    const { digest } = await train(SETTINGS, { folder, device });
    assertEquals(digest, expected.digest);
    assertNotEquals(digest, (await train(TINY, { device })).digest);

    const files = [whole, folder].map((run) => join(run, "checkpoints", "step-4", "optimizer.safetensors"));
    assertEquals(Deno.readFileSync(files[1]), Deno.readFileSync(files[0]));
    using stored = openSafetensors(files[0]);
    assertEquals(stored.tensors.get("tok_emb.moment2.columns")?.shape, [8]);
    assert(![...stored.tensors.keys()].some((name) => name.endsWith(".moment1")));
    const error = await assertRejects(() => train(TINY, { folder }), UserError);
    assert(error.message.includes('optimizer.kind: "adafactor" -> "adamw"'), error.message);
  });
});

Deno.test("plan() shows adafactor's smaller state", async () => {
  const large: RunSettings = { ...TINY, model: { ...TINY.model, modelDim: 128 } };
  const [adamw, adafactor] = [
    await plan(large),
    await plan({ ...large, optimizer: SETTINGS.optimizer }),
  ];
  assertEquals(adamw.bytes.moments, 2 * adamw.bytes.weights);
  assert(adafactor.bytes.moments < 0.05 * adamw.bytes.moments);
  assert(adafactor.bytes.total < adamw.bytes.total);
});
