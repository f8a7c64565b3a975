import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { CallOrder } from "../../src/engine/callOrder.ts";
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { readAhead } from "../../src/engine/readAhead.ts";
import { countedDevice, deviceLimitedTo, deviceWith } from "./_device.ts";
import { fill, openTiny, stateDigest, threeSteps, tinyBatch, tinySpec, tinyWeights } from "./tiny.ts";
import { testGpu } from "../_gpu.ts";

Deno.test("CallOrder runs calls one after the other, also after one that failed", async () => {
  const calls = new CallOrder();
  const seen: string[] = [];
  const slow = (name: string) => async () => {
    seen.push(`${name} begins`);
    await new Promise((resolve) => setTimeout(resolve, 1));
    seen.push(`${name} ends`);
    return name;
  };
  const failing = calls.run(() => {
    throw new Error("wrong");
  });
  const results = [calls.run(slow("a")), calls.run(slow("b")), calls.run(() => "c")];
  await assertRejects(() => failing, Error, "wrong");
  assertEquals(await Promise.all(results), ["a", "b", "c"]);
  assertEquals(seen, ["a begins", "a ends", "b begins", "b ends"]);
});

Deno.test("calls that are not awaited come to the bits of calls that are", async () => {
  const spec = tinySpec({ training: { virtualWorkers: 2 } });
  const digests: string[] = [];
  for (const isAwaited of [true, false]) {
    const engine = await openTiny(spec);
    const last = tinyWeights(engine.report).get("tok_emb")!;
    const calls: Promise<unknown>[] = [];
    const call = async (each: () => Promise<unknown>) => {
      if (isAwaited) await each();
      else calls.push(each());
    };
    for (const step of [1, 2]) {
      await call(() => engine.beginStep());
      for (const worker of [0, 1]) {
        await call(() => engine.accumulate(tinyBatch(2 * step + worker, 2), step));
        await call(() => engine.endWorker(worker));
      }
      await call(() => engine.read("gradient", "tok_emb"));
      await call(() => engine.update({ step, learningRate: 0.01 }));
      await call(() => engine.read("weights", "tok_emb"));
      await call(() => engine.read("optimizer", "pos_emb.moment1"));
      if (step === 1) await call(() => engine.write("weights", "tok_emb", last));
    }
    await Promise.all(calls);
    digests.push(await stateDigest(engine));
    await engine.close();
  }
  assertEquals(digests[1], digests[0]);
});

Deno.test("read() keeps its place among other calls, and reads that follow one another share a wait", async () => {
  const { device, made } = await countedDevice();
  const engine = await openLocalEngine(tinySpec(), { device });
  await fill(engine);
  const weights = tinyWeights(engine.report);
  const before = made.length;
  const all = await Promise.all([...weights.keys()].map((name) => engine.read("weights", name)));
  assertEquals(all, [...weights.values()]);
  assertEquals(made.length - before, 1, "staging buffers");

  const ones = new Float32Array(12).fill(1);
  const [old, , now] = await Promise.all([
    engine.read("weights", "final_norm.bias"),
    engine.write("weights", "final_norm.bias", ones),
    engine.read("weights", "final_norm.bias"),
  ]);
  assertEquals([old, now], [weights.get("final_norm.bias"), ones]);
  const [wrong, right] = await Promise.allSettled([
    engine.read("weights", "nothing"),
    engine.read("weights", "final_norm.bias"),
  ]);
  assertEquals([wrong.status, right.status], ["rejected", "fulfilled"]);
  await engine.close();
});

Deno.test("readAhead() reads together what fits, and no more", async () => {
  const mib = 2 ** 20;
  const sizes = [1, 30, 2, 40, 31, 1, 3].map((size) => size * mib);
  const parameters = sizes.map((bytes, i) => ({ name: `${i}`, shape: [4, bytes / 16], decays: true }));
  let asked: string[] = [];
  const read = (_kind: string, name: string) => {
    asked.push(name);
    return Promise.resolve(Float32Array.of(Number(name)));
  };
  const engine = await openTiny(tinySpec());
  const fake = { read, report: { ...engine.report, parameters } };
  await engine.close();
  const readers = readAhead(fake, parameters.map(({ name }) => ({ kind: "weights", name })));
  const groups: string[][] = [];
  for (const [i, reader] of readers.entries()) {
    assertEquals([...await reader()], [i]);
    if (asked.length > 0) groups.push(asked);
    asked = [];
  }
  assertEquals(groups, [["0", "1"], ["2"], ["3"], ["4", "5"], ["6"]]);
  assertEquals([...await readers[4]()], [4]); // out of order: read again
  assertEquals(asked, ["4", "5"]);
});

Deno.test("readAhead() comes to the engine's values, in any order", async () => {
  const engine = await openTiny(tinySpec());
  await threeSteps(engine);
  const { parameters, optimizerState } = engine.report;
  const tensors = [
    ...parameters.map(({ name }) => ({ kind: "weights" as const, name })),
    ...optimizerState.map(({ name }) => ({ kind: "optimizer" as const, name })),
  ].toReversed();
  const values = await Promise.all(readAhead(engine, tensors).map((reader) => reader()));
  for (const [i, { kind, name }] of tensors.entries()) assertEquals(values[i], await engine.read(kind, name));
  await engine.close();
});

Deno.test("next() that finds too little memory leaves nothing behind, and may be asked again", async () => {
  const { device } = await testGpu();
  let left = Infinity; // buffers that there is memory for
  const popErrorScope = async () => {
    const error = await device.popErrorScope();
    return left < 0 ? new GPUOutOfMemoryError("no memory") : error;
  };
  const createBuffer = (descriptor: GPUBufferDescriptor) => {
    left--;
    return device.createBuffer(descriptor);
  };
  const engine = await openLocalEngine(tinySpec(), {
    device: await deviceWith({ popErrorScope, createBuffer }),
  });
  await fill(engine);
  const ids = tinyBatch(0, 1).inputs.slice(0, 3);
  const before = engine.allocatedBytes;
  for (const enough of [0, 1, 2]) { // the cache, the tokens, the logits
    left = enough;
    await assertRejects(() => engine.next(ids, 0), UserError, "too little memory");
    assertEquals(engine.allocatedBytes, before);
  }
  left = Infinity;
  const found = await engine.next(ids, 0);
  assertEquals(found.length, 11);
  assert(found.every(Number.isFinite));
  await engine.close();
});

Deno.test("logits() says what helps where they are too large for a buffer", async () => {
  const device = await deviceLimitedTo({ maxBufferSize: 300_000 });
  const spec = tinySpec({ model: { vocabSize: 5000 } });
  const engine = await openLocalEngine(spec, { device, maxBinding: 65536 });
  await assertRejects(
    () => engine.logits(tinyBatch(0, 3)),
    UserError,
    "logits takes 420096 bytes, more than a buffer of this adapter holds (300000): lower train.microBatchSize",
  );
  await engine.close();
});
