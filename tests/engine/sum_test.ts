import { assert, assertEquals, assertRejects } from "@std/assert";
import { workerShare } from "../../src/config/derive.ts";
import type { Engine } from "../../src/engine/engine.ts";
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
    // three levels wait beside the running sum
    assertEquals((hostSums ? 4 : 1) * node.report.bytes.gradients, alone.report.bytes.gradients);
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
