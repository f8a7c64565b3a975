import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { workerShare } from "../../src/config/derive.ts";
import type { Engine, StepResult } from "../../src/engine/engine.ts";
import { accumulate, type Gradients, MODEL, openTiny, readGradients, tinyBatch, tinySpec } from "./tiny.ts";

/** The global batch of a step as `virtualWorkers` workers do it; micro-batches of at most two rows. */
async function step(engine: Engine, virtualWorkers: number, batchSize: number): Promise<StepResult> {
  await engine.beginStep();
  for (let worker = 0; worker < virtualWorkers; worker++) {
    const { from, to } = workerShare(worker, virtualWorkers, batchSize);
    await accumulate(engine, 1, from, to, 2);
    await engine.endWorker(worker);
  }
  await engine.update({ step: 1, learningRate: 0 });
  return (await engine.metrics())[0];
}

/** Gradients of each worker's share alone. */
async function gradientsOfWorkers(
  engine: Engine,
  virtualWorkers: number,
  batchSize: number,
): Promise<(Gradients | null)[]> {
  const all: (Gradients | null)[] = [];
  for (let worker = 0; worker < virtualWorkers; worker++) {
    const { from, to } = workerShare(worker, virtualWorkers, batchSize);
    await engine.beginStep();
    await accumulate(engine, 1, from, to, 2);
    all.push(from === to ? null : await readGradients(engine));
  }
  return all;
}

/** a + b in f32; null is nothing. */
function sum(a: Gradients | null, b: Gradients | null): Gradients | null {
  if (a === null || b === null) return a ?? b;
  return new Map([...a].map(([name, values]) => {
    const other = b.get(name)!;
    return [name, values.map((value, i) => Math.fround(value + other[i]))];
  }));
}

/** The fixed tree: neighbours are added, level by level; the last one without a neighbour moves up. */
function tree(leaves: readonly (Gradients | null)[]): Gradients | null {
  if (leaves.length === 1) return leaves[0];
  const pairs: (Gradients | null)[] = [];
  for (let i = 0; i < leaves.length; i += 2) {
    pairs.push(i + 1 < leaves.length ? sum(leaves[i], leaves[i + 1]) : leaves[i]);
  }
  return tree(pairs);
}

/** The largest difference, as a part of each tensor's largest value. */
function largestDifference(a: Gradients, b: Gradients): number {
  return Math.max(...[...a].map(([name, values]) => {
    const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return values.reduce((most, value, i) => Math.max(most, Math.abs(value - b.get(name)![i]) / scale), 0);
  }));
}

/** Sums of some hundred terms in another order: relative to the largest value of a tensor. */
const ROUNDING = 3e-6;

for (const virtualWorkers of [1, 2, 3, 4, 5, 7, 8]) {
  Deno.test(`${virtualWorkers} virtual workers add their gradients along the fixed tree`, async () => {
    const engine = await openTiny(tinySpec({ training: { virtualWorkers } }));
    const whole = await openTiny(tinySpec({ microBatchSize: 9 }));
    for (const batchSize of [9, 3]) { // also uneven shares and empty ones
      const leaves = await gradientsOfWorkers(engine, virtualWorkers, batchSize);
      const result = await step(engine, virtualWorkers, batchSize);
      const gradients = await readGradients(engine);
      assertEquals(gradients, tree(leaves), `batch of ${batchSize}: another tree`);

      await whole.beginStep();
      await accumulate(whole, 1, 0, batchSize, 9);
      await whole.endWorker(0);
      await whole.update({ step: 1, learningRate: 0 });
      const [wanted] = await whole.metrics();
      assert(largestDifference(await readGradients(whole), gradients) < ROUNDING);
      assertEquals(result.targetCount, wanted.targetCount);
      assertAlmostEquals(result.lossSum, wanted.lossSum, ROUNDING * wanted.lossSum);
      assertAlmostEquals(result.gradNorm, wanted.gradNorm, ROUNDING * wanted.gradNorm);
    }
    await engine.close();
    await whole.close();
  });
}

Deno.test("endWorker() wants the workers in order", async () => {
  const engine = await openTiny(tinySpec({ training: { virtualWorkers: 3 } }));
  await engine.beginStep();
  await engine.endWorker(0);
  await assertRejects(() => engine.endWorker(2), Error, "Virtual worker 2 ends, expected 1");
  await engine.close();
});

Deno.test("micro-batches of any size come to the same gradients, but for rounding", async () => {
  const engine = await openTiny(tinySpec({ model: { zLoss: 0.01 }, microBatchSize: 8 }));
  const gradients: Gradients[] = [];
  const sums: number[][] = [];
  for (const rows of [8, 5, 3, 1]) {
    await engine.beginStep();
    await accumulate(engine, 1, 0, 8, rows);
    gradients.push(await readGradients(engine));
    await engine.endWorker(0);
    await engine.update({ step: 1, learningRate: 0 });
    const [{ lossSum, zSum, targetCount }] = await engine.metrics();
    sums.push([lossSum, zSum, targetCount]);
  }
  for (let i = 1; i < 4; i++) {
    assert(largestDifference(gradients[0], gradients[i]) < ROUNDING);
    sums[i].forEach((value, k) => assertAlmostEquals(value, sums[0][k], ROUNDING * sums[0][k]));
  }
  await engine.close();
});

Deno.test("engines for other micro-batch sizes come to the same weights, but for rounding", async () => {
  const trained: Float32Array[] = [];
  for (const microBatchSize of [1, 4, 6]) {
    const engine = await openTiny(tinySpec({ microBatchSize }));
    for (let s = 1; s <= 3; s++) {
      await engine.beginStep();
      await accumulate(engine, s, 6 * s, 6 * s + 6, microBatchSize);
      await engine.endWorker(0);
      await engine.update({ step: s, learningRate: 0.01 });
    }
    trained.push(await engine.read("weights", "blocks.0.mlp.up.weight"));
    await engine.close();
  }
  // Adam divides by the gradient's size: where that is near 0, rounding is magnified, at most to a step's length.
  for (const weights of trained.slice(1)) {
    weights.forEach((value, i) => assertAlmostEquals(value, trained[0][i], 3e-4));
  }
});

Deno.test("dropout draws by step and sample, whatever the micro-batch", async () => {
  const model = { dropout: 0.1, attentionDropout: 0.1 };
  const engine = await openTiny(tinySpec({ model, microBatchSize: 6 }));
  async function gradientsOf(step: number, rows: number, from = 0): Promise<Gradients> {
    await engine.beginStep();
    await accumulate(engine, step, from, from + 6, rows);
    return await readGradients(engine);
  }
  const one = await gradientsOf(1, 6);
  assertEquals(await gradientsOf(1, 6), one);
  for (const rows of [4, 1]) assert(largestDifference(one, await gradientsOf(1, rows)) < ROUNDING);
  assert(largestDifference(one, await gradientsOf(2, 6)) > 0.01, "the next step drops others");
  await engine.close();

  const other = await openTiny(tinySpec({ model, microBatchSize: 6, training: { seed: 6 } }));
  await other.beginStep();
  await accumulate(other, 1, 0, 6, 6);
  assert(largestDifference(one, await readGradients(other)) > 0.01, "another seed drops others");
  await other.close();
});

for (const kind of ["dropout", "attentionDropout"] as const) {
  Deno.test(`${kind} alone changes the gradients, and not the evaluation`, async () => {
    const [dropping, plain] = [
      await openTiny(tinySpec({ model: { [kind]: 0.1 } })),
      await openTiny(tinySpec()),
    ];
    const found: Gradients[] = [];
    for (const engine of [dropping, plain]) {
      await engine.beginStep();
      await accumulate(engine, 1, 0, 3, 3, MODEL);
      found.push(await readGradients(engine));
    }
    assert(largestDifference(found[0], found[1]) > 0.01);
    const batch = tinyBatch(0, 3);
    assertEquals(await dropping.evaluate(batch), await plain.evaluate(batch));
    await dropping.close();
    await plain.close();
  });
}
