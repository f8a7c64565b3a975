import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { normals, Stream } from "../../src/random.ts";
import { coverPairs } from "./coveringArray.ts";
import { gridModels } from "./grid.ts";
import { referenceLoss } from "./referenceModel.ts";
import {
  copyState,
  openTiny,
  stateDigest,
  stepOn,
  tinyBatch,
  tinySpec,
  tinyWeights,
  TRAINING,
} from "./tiny.ts";

/** The step of the finite differences: in f64 their error is then below 2e-6 of a gradient. */
const EPSILON = 1e-6;
/** How far a slope by f32 gradients may be from that of f64, as a share of the gradient's length; found: 1.8e-5. */
const TOLERANCE = 5e-5;

Deno.test("coverPairs() has every two values that make sense together, and no others", () => {
  const axes = { a: [1, 2, 3], b: ["x", "y"], c: [false, true], d: [0, null] } as const;
  const makesSense = ({ a, c }: { a?: number; c?: boolean }) => a !== 3 || c !== true;
  const choices = coverPairs(axes, makesSense);
  assert(choices.every(makesSense) && choices.length < 10);
  const found = new Set(choices.flatMap((choice) => {
    const values = Object.entries(choice);
    return values.flatMap((one, i) =>
      values.slice(i + 1).map((other) => JSON.stringify([one, other].sort()))
    );
  }));
  assertEquals(found.size, 3 * 2 + (3 * 2 - 1) + 3 * 2 + 2 * 2 + 2 * 2 + 2 * 2);
});

for (const { name, model, mask, optimizer } of gridModels()) {
  Deno.test(`a model with ${name} has its f64 reference's gradients; goes on, recomputed, to the same bits`, async () => {
    const engine = await openTiny(tinySpec({ model, training: { optimizer } }));
    const batch = tinyBatch(0, 3, model, mask);
    await stepOn(engine, batch, 1);
    const [{ lossSum, zSum, halted }] = await engine.metrics();
    assert(!halted);

    const gradients = await Promise.all(
      engine.report.parameters.map(({ name }) => engine.read("gradient", name)),
    );
    const directions = gradients.map(({ length }, i) => normals(length, 1, 3, Stream.test, i));
    const given = tinyWeights(engine.report);
    const drops = model.dropout > 0 || model.attentionDropout > 0;
    const lossAt = (distance: number) => {
      const moved = engine.report.parameters.map(({ name, shape }, i) => {
        const values = Float64Array.from(given.get(name)!, (w, k) => w + distance * directions[i][k]);
        return [name, { shape, values }] as const;
      });
      return referenceLoss(model, new Map(moved), batch, drops ? { seed: TRAINING.seed, step: 1 } : null);
    };
    const wanted = lossAt(0);
    assertAlmostEquals(lossSum + model.zLoss * zSum, wanted, 2e-6 * wanted, "loss");
    const slope = (lossAt(EPSILON) - lossAt(-EPSILON)) / (2 * EPSILON);
    const found = sum(gradients.map((gradient, i) => sum(gradient.map((g, k) => g * directions[i][k]))));
    const length = Math.hypot(...gradients.map((gradient) => Math.hypot(...gradient)));
    assertAlmostEquals(found, slope, TOLERANCE * length, `slope of a gradient of length ${length}`);

    const resumed = await openTiny(tinySpec({ model, training: { optimizer, recompute: true } }));
    await copyState(engine, resumed);
    const next = tinyBatch(3, 2, model, mask);
    for (const each of [engine, resumed]) await stepOn(each, next, 2);
    assertEquals(await stateDigest(resumed), await stateDigest(engine));
    await engine.close();
    await resumed.close();
  });
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
