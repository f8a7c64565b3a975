import { assert, assertEquals, assertRejects } from "@std/assert";
import { workerShare } from "../../src/config/derive.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { planEngine } from "../../src/engine/plan.ts";
import { countArrays } from "../_arrays.ts";
import { testGpu } from "../_gpu.ts";
import { accumulate, openTiny, stateDigest, tinySpec } from "./tiny.ts";

type Sum = Float32Array<ArrayBuffer>;

const BATCH = 9;
const RATE = 0.01;

/** Begins a sum over workers `from` to `to` of `virtualWorkers`, and adds their shares. */
async function addWorkers(engine: Engine, virtualWorkers: number, from: number, to: number): Promise<void> {
  await engine.beginStep(to - from);
  for (let worker = from; worker < to; worker++) {
    const share = workerShare(worker, virtualWorkers, BATCH);
    await accumulate(engine, 1, share.from, share.to, 2);
    await engine.endWorker(worker - from);
  }
}

/** a + b in f32. */
const add = (a: Sum, b: Sum): Sum => a.map((value, i) => Math.fround(value + b[i]));

/** Subtrees of the tree over six workers, and how their sums become the whole. */
const cuts: [readonly [number, number][], (sums: Sum[]) => Sum][] = [
  [[[0, 6]], ([whole]) => whole],
  [[[0, 4], [4, 6]], ([left, right]) => add(left, right)],
  [[[0, 2], [2, 4], [4, 6]], ([a, b, c]) => add(add(a, b), c)],
  [[[0, 1], [1, 2], [2, 4], [4, 5], [5, 6]], ([a, b, c, d, e]) => add(add(add(a, b), c), add(d, e))],
];

Deno.test("readSum() and writeSum() carry subtrees' sums, and the update is that of one node, bit for bit", async () => {
  const spec = tinySpec({ training: { virtualWorkers: 6 }, model: { dropout: 0.1 } });
  const alone = await openTiny(spec);
  await addWorkers(alone, 6, 0, 6);
  await alone.update({ step: 1, learningRate: RATE });
  const wanted = [await stateDigest(alone), await alone.metrics()];

  for (const [[pieces, combine], hostSums] of cuts.flatMap((cut) => [[cut, false], [cut, true]] as const)) {
    const node = await openTiny({ ...spec, training: { ...spec.training!, hostSums } });
    // two sums wait beside the running one
    assertEquals((hostSums ? 3 : 1) * node.report.bytes.gradients, alone.report.bytes.gradients);
    const sums: Sum[] = [];
    for (const [from, to] of pieces) {
      await addWorkers(node, 6, from, to);
      sums.push(await node.readSum());
      assertEquals(sums.at(-1)!.length, node.report.sumLength);
      const shared = new Float32Array(new SharedArrayBuffer(4 * node.report.sumLength));
      assert(await node.readSum(shared) === shared);
      assertEquals(shared.slice(), sums.at(-1));
    }
    await addWorkers(node, 6, 0, 1); // something else is in its place
    await node.writeSum(combine(sums));
    await node.update({ step: 1, learningRate: RATE });
    assertEquals(
      [await stateDigest(node), await node.metrics()],
      wanted,
      `${JSON.stringify(pieces)} ${hostSums}`,
    );
    await node.close();
  }
  await assertRejects(() => alone.readSum(new Float32Array(3)), Error, "Room for 3 values, expected");
  await assertRejects(() => alone.writeSum(new Float32Array(3)), Error, "A sum of 3 values, expected");
  await alone.close();
});

Deno.test("a sum ends with a hash of the weights that it was made with: of every bit, whichever share it is", async () => {
  const spec = tinySpec({
    training: { virtualWorkers: 2 },
    model: { modelDim: 36, ffnDim: 67, vocabSize: 101 },
  }); // several blocks of the hash
  await using opened = new AsyncDisposableStack();
  const open = async (options = {}) => {
    const engine = await openTiny(spec, options);
    opened.defer(() => engine.close());
    return engine;
  };
  const [engine, windowed] = [await open(), await open({ maxBinding: 16 * 1024 })];
  const hashOf = async (node: Engine, from = 0, to = 1) => {
    await addWorkers(node, 2, from, to);
    return (await node.readSum()).at(-1)!;
  };
  const hash = await hashOf(engine);
  assert(Number.isInteger(hash) && hash > 0 && hash < 2 ** 24);
  assertEquals([await hashOf(engine, 1, 2), await hashOf(engine, 0, 2), await hashOf(windowed)], [
    hash,
    hash,
    hash,
  ]);
  const { parameters } = engine.report;
  const found = new Set([hash]);
  for (const [i, { name }] of parameters.entries()) {
    const values = await engine.read("weights", name);
    const words = new Uint32Array(values.buffer);
    const at = Math.floor(words.length * i / parameters.length);
    words[at] ^= 1 << (i % 2 === 0 ? i % 32 : 31); // the sign, too
    await engine.write("weights", name, values);
    found.add(await hashOf(engine));
    words[at] ^= 1 << (i % 2 === 0 ? i % 32 : 31);
    await engine.write("weights", name, values);
  }
  assertEquals(found.size, parameters.length + 1);
  assertEquals(await hashOf(engine), hash);
});

for (const virtualWorkers of [1, 2, 3, 4, 5, 7, 8]) {
  Deno.test(`${virtualWorkers} virtual workers: lg(share) + 1 sums at most, on the GPU or on the host, as the report says`, async () => {
    const most = Math.floor(Math.log2(virtualWorkers)) + 1;
    for (const hostSums of [false, true]) {
      const { device, limits } = await testGpu();
      const spec = tinySpec({ training: { virtualWorkers, hostSums }, microBatchSize: 2 });
      const engine = await openTiny(spec);
      const { sumLength, bytes: { weights, gradients } } = engine.report;
      const planned = await planEngine(spec, { device, maxBinding: limits.maxBinding });
      const onHost = hostSums && virtualWorkers > 1;
      assertEquals(gradients, (onHost ? 1 : most) * weights);
      assertEquals(planned.hostSumBytes, onHost ? 4 * sumLength * most : 0);
      const into = new Float32Array(new SharedArrayBuffer(4 * sumLength));
      const made = await countArrays(sumLength, async () => {
        for (let step = 0; step < 3; step++) {
          for (const share of [virtualWorkers, 1, virtualWorkers]) {
            await addWorkers(engine, virtualWorkers, 0, share);
            if (step < 2) await engine.readSum(into);
            else await engine.update({ step: 1, learningRate: RATE }); // others may be given up as they are
          }
        }
      });
      assertEquals(4 * sumLength * made, planned.hostSumBytes);
      await engine.close();
    }
  });
}
