import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { deriveModel } from "../../src/config/deriveModel.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { probeEngine } from "../../src/train/probe.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { tinyConfig, tinyDataset, tinyRun } from "./tinyRun.ts";

async function openTiny(config = tinyConfig()) {
  const dataset = await tinyDataset(config);
  const engine = fakeEngine(deriveModel(config.model, dataset.vocabSize), { microBatchSize: 2 });
  return { config, dataset, engine };
}

Deno.test("probeEngine() is the same wherever the bits are, whatever the engine has done before", async () => {
  const { config, engine, dataset } = await openTiny();
  const first = await probeEngine(config, engine, dataset);
  await tinyRun(null, config, { engine });
  assertEquals(await probeEngine({ ...config, name: "other" }, engine, dataset), first);
  const fresh = await openTiny();
  assertEquals(await probeEngine(fresh.config, fresh.engine, fresh.dataset), first);
});

Deno.test("probeEngine() shows one bit that differs, in a gradient as in an update", async () => {
  const { config, engine, dataset } = await openTiny();
  const first = await probeEngine(config, engine, dataset);
  const flip = (values: Float32Array) => {
    new Uint32Array(values.buffer, values.byteOffset)[0] ^= 1;
    return values;
  };
  const otherGradient: Engine = {
    ...engine,
    endWorker: async (index) => {
      await engine.endWorker(index);
      await engine.writeSum(flip(await engine.readSum()));
    },
  };
  const otherUpdate: Engine = {
    ...engine,
    update: async (update) => {
      await engine.update(update);
      await engine.write(
        "optimizer",
        "tok_emb.moment2",
        flip(await engine.read("optimizer", "tok_emb.moment2")),
      );
    },
  };
  for (const other of [otherGradient, otherUpdate]) {
    assertNotEquals(await probeEngine(config, other, dataset), first);
  }
});

Deno.test("probeEngine() throws the signal's reason", async () => {
  const { config, engine, dataset } = await openTiny();
  const signal = AbortSignal.abort(new Error("no time"));
  await assertRejects(() => probeEngine(config, engine, dataset, signal), Error, "no time");
});
