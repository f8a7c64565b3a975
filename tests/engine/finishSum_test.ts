import { assert, assertEquals, assertRejects } from "@std/assert";
import { workerShare } from "../../src/config/derive.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { EngineSpec } from "../../src/engine/spec.ts";
import { openWorkerEngine } from "../../src/engine/workerEngine.ts";
import { bindingCap } from "../_gpu.ts";
import { accumulate, fill, openTiny, tinyBatch, tinySpec } from "./tiny.ts";

const BATCH = 9;
const WORKERS = 6;
const STEP = 3;

/** The sum over workers `from` to `to`, but for the last micro-batch, which is returned. */
async function addAllButLast(engine: Engine, spec: EngineSpec, from: number, to: number) {
  await engine.beginStep(to - from);
  for (let worker = from; worker < to - 1; worker++) {
    const share = workerShare(worker, WORKERS, BATCH);
    await accumulate(engine, STEP, share.from, share.to, 2);
    await engine.endWorker(worker - from);
  }
  const share = workerShare(to - 1, WORKERS, BATCH);
  const last = Math.max(share.from, share.to - 1);
  await accumulate(engine, STEP, share.from, last, 2);
  return { micro: tinyBatch(last, share.to - last, spec.model), step: STEP, worker: to - 1 - from };
}

async function wholeSum(engine: Engine, spec: EngineSpec, from: number, to: number) {
  const { micro, step, worker } = await addAllButLast(engine, spec, from, to);
  await engine.accumulate(micro, step);
  await engine.endWorker(worker);
  return await engine.readSum();
}

/** The same sum in parts: what has come when it is told, told once, is what is there in the end. */
async function finishedSum(engine: Engine, spec: EngineSpec, from: number, to: number, parts: number) {
  const last = await addAllButLast(engine, spec, from, to);
  const sum = new Float32Array(new SharedArrayBuffer(4 * engine.report.sumLength)).fill(0.5);
  const told: { readonly from: number; readonly values: Float32Array }[] = [];
  const times = new Uint8Array(sum.length);
  await engine.finishSum(last, sum, parts, (from, to) => {
    told.push({ from, values: sum.slice(from, to) });
    for (let i = from; i < to; i++) times[i]++;
  });
  assert(times.every((count) => count === 1), `${parts} parts: not each value was told of once`);
  for (const { from, values } of told) assertEquals(values, sum.slice(from, from + values.length));
  return { sum: Float32Array.from(sum), told };
}

const shares = [[0, 1], [0, 2], [0, 4], [4, 6], [0, 6]] as const;

for (const recompute of [false, true]) {
  for (const hostSums of [false, true]) {
    const name = `finishSum() gives readSum()'s bits, recompute=${recompute}, hostSums=${hostSums}`;
    Deno.test(name, async () => {
      const spec = tinySpec({
        training: { virtualWorkers: WORKERS, recompute, hostSums },
        model: { dropout: 0.1, bias: true },
      });
      await using engine = await opened(spec);
      for (const [from, to] of shares) {
        const whole = await wholeSum(engine, spec, from, to);
        for (const parts of [1, 2, 3, 100]) {
          const { sum, told } = await finishedSum(engine, spec, from, to, parts);
          assertEquals(sum, whole, `workers ${from} to ${to} in ${parts} parts`);
          assert(parts === 1 || told.length > parts / 50);
          // the last block's gradients come before the first one's, and the sums last of all
          if (parts > 1) {
            const froms = told.map(({ from }) => from);
            assert(froms[0] > 0 && froms.includes(0), JSON.stringify(froms));
            assert(told.at(-1)!.from === Math.max(...froms), JSON.stringify(froms));
          }
        }
      }
      assertEquals((await finishedSum(engine, spec, 0, 1, 1)).told.length, 1);
    });
  }
}

Deno.test("finishSum() in a Worker tells of what has come; a signal ends it, and the next sum is whole", async () => {
  const spec = tinySpec({ training: { virtualWorkers: WORKERS } });
  const engine = await openWorkerEngine(spec, { maxBinding: bindingCap() });
  try {
    await fill(engine);
    const whole = await wholeSum(engine, spec, 0, 2);
    const { sum, told } = await finishedSum(engine, spec, 0, 2, 4);
    assertEquals(sum, whole);
    assert(told.length >= 4);

    const stop = new AbortController();
    const last = await addAllButLast(engine, spec, 0, 2);
    const into = new Float32Array(new SharedArrayBuffer(4 * whole.length));
    const finishing = engine.finishSum(last, into, 4, () => {}, stop.signal);
    stop.abort(new Error("enough"));
    await assertRejects(() => finishing, Error, "enough");
    assertEquals((await finishedSum(engine, spec, 0, 2, 4)).sum, whole);
    await assertRejects(
      async () =>
        await engine.finishSum(await addAllButLast(engine, spec, 0, 1), new Float32Array(3), 2, () => {}),
      Error,
      "Room for 3 values, expected",
    );
  } finally {
    await engine.close();
  }
});

Deno.test("finishSum() is for the last worker", async () => {
  const spec = tinySpec({ training: { virtualWorkers: WORKERS } });
  await using engine = await opened(spec);
  await engine.beginStep(3);
  const last = { micro: tinyBatch(0, 1, spec.model), step: 1, worker: 0 };
  const into = new Float32Array(engine.report.sumLength);
  await assertRejects(
    () => engine.finishSum(last, into, 2, () => {}),
    Error,
    "Virtual worker 0 ends the sum",
  );
});

async function opened(spec: EngineSpec) {
  const engine = await openTiny(spec);
  return Object.assign(engine, { [Symbol.asyncDispose]: () => engine.close() });
}
