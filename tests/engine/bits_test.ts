import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { openWorkerEngine } from "../../src/engine/workerEngine.ts";
import { testGpu } from "../_gpu.ts";
import { fill, MODEL, openTiny, stateDigest, threeSteps, tinySpec } from "./tiny.ts";

/** Large enough that windows of 16 KiB cut activations, weights, logits and gradients. */
const WIDE = {
  ...MODEL,
  numLayers: 2,
  modelDim: 40,
  numHeads: 5,
  numKvHeads: 5,
  headDim: 8,
  ffnDim: 110,
  vocabSize: 131,
  seqLen: 31,
  zLoss: 0.01,
  dropout: 0.1,
  attentionDropout: 0.1,
};

const spec = tinySpec({ model: WIDE, microBatchSize: 3 });
let expected: Promise<string> | null = null;

/** The digest after three steps without any option. */
function plainDigest(): Promise<string> {
  expected ??= (async () => {
    const engine = await openTiny(spec);
    const untrained = await stateDigest(engine);
    await threeSteps(engine, WIDE, 3);
    const digest = await stateDigest(engine);
    const results = await engine.metrics();
    assertNotEquals(digest, untrained);
    assert(results.every(({ halted }) => !halted));
    await engine.close();
    return digest;
  })();
  return expected;
}

async function digestWith(
  training: Partial<NonNullable<typeof spec.training>>,
  options = {},
): Promise<string> {
  const engine = await openTiny({ ...spec, training: { ...spec.training!, ...training } }, options);
  await threeSteps(engine, WIDE, 3);
  const digest = await stateDigest(engine);
  await engine.close();
  return digest;
}

Deno.test("an engine trained twice comes to the same bits", async () => {
  assertEquals(await digestWith({}), await plainDigest());
});

Deno.test("another seed of dropout comes to other bits", async () => {
  assertNotEquals(await digestWith({ seed: 6 }), await plainDigest());
});

Deno.test("recompute changes no bit, and takes less memory", async () => {
  assertEquals(await digestWith({ recompute: true }), await plainDigest());
  const [kept, recomputed] = [
    await openTiny(spec),
    await openTiny({ ...spec, training: { ...spec.training!, recompute: true } }),
  ];
  assert(recomputed.report.bytes.activations < 0.8 * kept.report.bytes.activations);
  await kept.close();
  await recomputed.close();
});

Deno.test("windows of 16 KiB and of 64 KiB change no bit", async () => {
  assertEquals(await digestWith({}, { maxBinding: 16384 }), await plainDigest());
  assertEquals(await digestWith({}, { maxBinding: 65536 }), await plainDigest());
});

Deno.test("kernels for GPUs come to the same bits as those for software adapters", async () => {
  const { device } = await testGpu();
  for (const isSoftware of [true, false]) {
    const description = isSoftware ? "llvmpipe" : "a GPU";
    const named = new Proxy(device, {
      get(target, key) {
        if (key === "adapterInfo") return { description, isFallbackAdapter: false, subgroupMinSize: 8 };
        const member = Reflect.get(target, key, target);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    const engine = await openTiny(spec, { device: named });
    assertEquals(engine.report.isSoftware, isSoftware);
    await threeSteps(engine, WIDE, 3);
    assertEquals(await stateDigest(engine), await plainDigest());
    await engine.close();
  }
});

Deno.test("compiling all kernels before the first step leaves no trace", async () => {
  assertEquals(await digestWith({}, { onCompile: () => {} }), await plainDigest());
});

Deno.test("openWorkerEngine() comes to the same bits as an engine on this thread", async () => {
  const engine = await openWorkerEngine(spec);
  await fill(engine);
  await threeSteps(engine, WIDE, 3);
  assertEquals(await stateDigest(engine), await plainDigest());
  await engine.close();
});
