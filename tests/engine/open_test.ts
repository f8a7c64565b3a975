import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { planEngine } from "../../src/engine/plan.ts";
import { openWorkerEngine } from "../../src/engine/workerEngine.ts";
import { countedDevice, deviceLimitedTo } from "./_device.ts";
import { fill, tinySpec } from "./tiny.ts";

/** Rejects with exactly this reason. */
async function assertEndsWith(reason: unknown, work: () => Promise<unknown>): Promise<void> {
  let found: unknown = null;
  try {
    await work();
  } catch (error) {
    found = error;
  }
  assert(found === reason, `expected the signal's reason, found ${found}`);
}

Deno.test("openLocalEngine() ends with the signal's reason wherever it comes, and frees what it took", async () => {
  const { device, made, open } = await countedDevice();
  const reason = { why: "enough" };
  await assertEndsWith(
    reason,
    () => openLocalEngine(tinySpec(), { device, signal: AbortSignal.abort(reason) }),
  );
  assertEquals(made.length, 0);
  for (const last of [0, 6]) {
    const abort = new AbortController();
    const seen: number[] = [];
    const onCompile = (done: number) => {
      seen.push(done);
      if (done === last) setTimeout(() => abort.abort(reason), 0); // as an interrupt comes: from the event loop
    };
    await assertEndsWith(
      reason,
      () => openLocalEngine(tinySpec(), { device, signal: abort.signal, onCompile }),
    );
    assertEquals(seen.at(-1), last);
    assert(made.length > 10, `${made.length} buffers`);
    assertEquals(open.size, 0);
  }
});

Deno.test("openWorkerEngine() ends with the signal's reason", async () => {
  const reason = { why: () => "a function does not cross threads" };
  const signal = AbortSignal.abort(reason);
  await assertEndsWith(reason, () => openWorkerEngine(tinySpec(), { signal }));
  const abort = new AbortController();
  const seen: number[] = [];
  const onCompile = (done: number, total: number) => {
    seen.push(done / total);
    abort.abort(reason);
  };
  await assertEndsWith(reason, () => openWorkerEngine(tinySpec(), { signal: abort.signal, onCompile }));
  assertEquals(seen[0], 0);
  assert(seen.at(-1)! < 1, "it went on to the end");
});

Deno.test("onWeights tells of each parameter once, in a Worker, too", async () => {
  const seen: [number, number][] = [];
  const onWeights = (done: number, total: number) => seen.push([done, total]);
  const { device } = await countedDevice();
  for (
    const engine of [
      await openLocalEngine(tinySpec(), { device, onWeights }),
      await openWorkerEngine(tinySpec(), { onWeights }),
    ]
  ) {
    await fill(engine);
    await fill(engine);
    const total = engine.report.parameters.length;
    assertEquals(seen.splice(0), Array.from({ length: total }, (_, i) => [i + 1, total]));
    await engine.close();
  }
});

Deno.test("openLocalEngine() and planEngine() name what is too large for a buffer, and what helps", async () => {
  const wide = tinySpec({ model: { vocabSize: 20_000 }, microBatchSize: 2 });
  const tensor =
    "tok_emb [20000,12] takes 960000 bytes, more than a buffer of this adapter holds (500000): " +
    "lower the vocabulary or model.modelDim";
  const small = await deviceLimitedTo({ maxBufferSize: 500_000 });
  const long = { ffnDim: 500, seqLen: 40 };
  const smaller = await deviceLimitedTo({ maxBufferSize: 70_000 });
  const many = "in one buffer, more than this adapter allows (70000): lower ";
  const cases = [
    { spec: wide, device: small, message: tensor },
    { spec: tinySpec({ model: long }), device: smaller, message: many + "train.microBatchSize" },
    {
      spec: tinySpec({ model: long, microBatchSize: 1 }),
      device: smaller,
      message: many + "model.seqLen",
    },
  ];
  const { device: roomy } = await countedDevice();
  for (const { spec, device, message } of cases) {
    await assertRejects(() => openLocalEngine(spec, { device }), UserError, message);
    const { obstacle, ...planned } = await planEngine(spec, { device });
    assertStringIncludes(obstacle ?? "none", message);
    const elsewhere = await planEngine(spec, { device: roomy });
    assertEquals({ ...elsewhere, bytes: null, obstacle }, { ...planned, bytes: null, obstacle });
    assertEquals(planned.bytes.weights, elsewhere.bytes.weights);
  }
});

Deno.test("planEngine() names a row that does not fit a binding, and too little memory", async () => {
  const { device } = await countedDevice();
  const wide = tinySpec({ model: { vocabSize: 5000 } });
  const { obstacle, bytes } = await planEngine(wide, { device, maxBinding: 16384 });
  assertMatch(obstacle ?? "none", /^A row of 5000 logits does not fit a binding of 16384 bytes: /);
  const { isSoftware, ...full } = await planEngine(wide, { device, freeMemory: 1000 });
  assertEquals(full.bytes.weights, bytes.weights);
  if (isSoftware) {
    assertMatch(full.obstacle ?? "none", /^The model needs .* of memory, but 0\.00 GiB are free/);
  } else assertEquals(full.obstacle, null);

  // sums on the host: one that waits, and the one that it is added to
  const training = { virtualWorkers: 3, hostSums: true };
  const host = await planEngine(tinySpec({ training }), { device, freeMemory: Infinity });
  assertEquals(host.hostSumBytes, 2 * 4 * host.sumLength);
  const freeMemory = host.hostSumBytes + (isSoftware ? host.bytes.total : 0);
  for (const [bytes, isEnough] of [[freeMemory, true], [freeMemory - 1, false]] as const) {
    const { obstacle } = await planEngine(tinySpec({ training }), { device, freeMemory: bytes });
    assertEquals(obstacle === null, isEnough);
  }
});
