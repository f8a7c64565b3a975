import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { LocalEngineOptions } from "../../src/engine/localEngine.ts";
import { deviceWith } from "./_device.ts";
import {
  copyState,
  openTiny,
  stateDigest,
  stepOn,
  threeSteps,
  tinyBatch,
  tinySpec,
  tinyWeights,
} from "./tiny.ts";

const OPTIMIZER = {
  kind: "adafactor",
  beta1: 0,
  beta2: null,
  eps: 1e-30,
  weightDecay: 0.1,
  scaleParameter: true,
} as const;

/** Large enough that windows of 16 KiB cut matrices, and blocks of 64 rows of them. */
const WIDE = { modelDim: 64, headDim: 16, ffnDim: 260, vocabSize: 131 };
const model = { ...tinySpec().model, ...WIDE };
const wide = tinySpec({ model, training: { optimizer: { ...OPTIMIZER, beta1: 0.9 } } });

async function digestOf(spec: typeof wide, options: LocalEngineOptions = {}): Promise<string> {
  const engine = await openTiny(spec, options);
  await threeSteps(engine, model);
  const digest = await stateDigest(engine);
  assert((await engine.metrics()).every(({ halted }) => !halted));
  await engine.close();
  return digest;
}

Deno.test("adafactor keeps the means of a matrix's rows and columns, and a first moment only with beta1", async () => {
  const adamw = await openTiny(tinySpec({ model }));
  const plain = await openTiny(tinySpec({ model, training: { optimizer: OPTIMIZER } }));
  const withMoment = await openTiny(wide);
  const names = (prefix: string, { report }: typeof plain) =>
    report.optimizerState.filter(({ name }) => name.startsWith(`${prefix}.`)).map(({ name, shape }) => [
      name,
      ...shape,
    ]);
  const factored = [["tok_emb.moment2.rows", 131], ["tok_emb.moment2.columns", 64]];
  assertEquals(names("tok_emb", plain), factored);
  assertEquals(names("final_norm.bias", plain), [["final_norm.bias.moment2", 64]]);
  assertEquals(names("tok_emb", withMoment), [...factored, ["tok_emb.moment1", 131, 64]]);
  const [all, weights] = [adamw.report.bytes.moments, adamw.report.bytes.weights];
  assertEquals(all, 2 * weights);
  assert(plain.report.bytes.moments < 0.1 * all);
  assertEquals(withMoment.report.bytes.moments, plain.report.bytes.moments + weights);
  for (const engine of [adamw, plain, withMoment]) await engine.close();
});

Deno.test("adafactor comes to the same bits in windows, warmed up, and with kernels for GPUs", async () => {
  const expected = await digestOf(wide);
  for (const maxBinding of [16384, 32768, 65536]) {
    assertEquals(await digestOf(wide, { maxBinding }), expected);
  }
  assertEquals(await digestOf(wide, { onCompile: () => {} }), expected);
  for (const description of ["llvmpipe", "a GPU"]) {
    const adapterInfo = { description, isFallbackAdapter: false, subgroupMinSize: 8 } as GPUAdapterInfo;
    assertEquals(await digestOf(wide, { device: await deviceWith({ adapterInfo }) }), expected);
  }
  const { seed, clip, virtualWorkers, recompute } = wide.training!;
  const training = { optimizer: OPTIMIZER, seed, clip, virtualWorkers, recompute };
  assertNotEquals(await digestOf({ ...wide, training }), expected);
});

Deno.test("adafactor goes on from its state to the same bits", async () => {
  for (const beta1 of [0, 0.9]) {
    const spec = tinySpec({ training: { optimizer: { ...OPTIMIZER, beta1 } } });
    const [whole, resumed] = [await openTiny(spec), await openTiny(spec)];
    await threeSteps(whole);
    await copyState(whole, resumed);
    for (const engine of [whole, resumed]) {
      await stepOn(engine, tinyBatch(30, 3), 4);
    }
    assertEquals(await stateDigest(resumed), await stateDigest(whole));
    for (const engine of [whole, resumed]) await engine.close();
  }
});

Deno.test("adafactor does nothing from a step that is not finite until clearHalt()", async () => {
  const engine = await openTiny(wide);
  await threeSteps(engine, model);
  const good = tinyWeights(engine.report).get("final_norm.weight")!;
  await engine.write("weights", "final_norm.weight", good.with(3, NaN));
  const before = await stateDigest(engine);
  const step = (step: number) => stepOn(engine, tinyBatch(3 * step, 3, model), step);
  await step(4);
  assertEquals(await stateDigest(engine), before);
  await engine.write("weights", "final_norm.weight", good);
  const mended = await stateDigest(engine);
  await step(5);
  assertEquals(await stateDigest(engine), mended);
  await engine.clearHalt();
  await step(6);
  assertEquals((await engine.metrics()).slice(3).map(({ halted }) => halted), [true, true, false]);
  assertNotEquals(await stateDigest(engine), mended);
  await engine.close();
});

Deno.test("adafactor moves no weight of a step without targets, but by the decay", async () => {
  const engine = await openTiny(tinySpec({ training: { optimizer: { ...OPTIMIZER, weightDecay: 0 } } }));
  const before = await engine.read("weights", "tok_emb");
  const batch = tinyBatch(0, 2);
  await stepOn(engine, { ...batch, targets: batch.targets.map(() => -100) }, 1);
  assertEquals(await engine.read("weights", "tok_emb"), before);
  await engine.close();
});
