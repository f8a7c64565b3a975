import { assertAlmostEquals } from "@std/assert";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { normals, Stream } from "../../src/random.ts";
import { referenceLoss, type Weights } from "./referenceModel.ts";
import { MODEL, openTiny, stepOn, tinyBatch, type TinyMask, tinySpec, tinyWeights } from "./tiny.ts";

const variants: Partial<ModelSpec>[] = [
  {},
  { activation: "geluErf" },
  { activation: "relu" },
  { activation: "silu" },
  { activation: "swiglu" },
  { activation: "geglu" },
  { activation: "reglu" },
  { norm: "rmsnorm" },
  { bias: false },
  { tied: false },
  { numKvHeads: 2 },
  { numKvHeads: 1 },
  { zLoss: 0.1 },
  { positions: "none" },
  { positions: "sinusoidal" },
  { positions: "rotary", headDim: 4, rotaryFraction: 0.5 },
  { positions: "rotaryInterleaved", headDim: 4, rotaryBase: 100 },
  { positions: "alibi" },
  { positions: "t5", t5NumBuckets: 4, t5MaxDistance: 5 },
  { embeddingNorm: true },
  { qkNorm: true },
  { parallelResidual: true },
  { attention: "banded", window: 2 },
  { attention: "alternating", window: 3, positions: "alibi" },
  { scaleScores: false, scaleOutput: true },
  { architecture: "nonCausalDecoder" },
  { architecture: "nonCausalDecoder", positions: "t5", t5NumBuckets: 4, t5MaxDistance: 5 },
  { architecture: "encoderDecoder", numEncoderLayers: 1 },
  { architecture: "encoderDecoder", numEncoderLayers: 3, dropout: 0.1, attentionDropout: 0.1, qkNorm: true },
  {
    architecture: "encoderDecoder",
    numEncoderLayers: 2,
    positions: "t5",
    t5NumBuckets: 4,
    t5MaxDistance: 5,
    norm: "rmsnorm",
    bias: false,
    activation: "gegluTanh",
    scaleScores: false,
    scaleOutput: true,
    numKvHeads: 2,
  },
  { dropout: 0.2 },
  { attentionDropout: 0.2 },
  { dropout: 0.1, attentionDropout: 0.1, numKvHeads: 2, zLoss: 0.01 },
  { norm: "rmsnorm", bias: false, tied: false, activation: "swiglu", numKvHeads: 2, ffnDim: 8 },
  { numLayers: 1, modelDim: 5, numHeads: 5, numKvHeads: 5, headDim: 1, ffnDim: 1, vocabSize: 2 },
  { numLayers: 3, seqLen: 1 },
];

/** The step of the finite differences: in f64 the error is then about 1e-10. */
const EPSILON = 1e-5;

const masked: [Partial<ModelSpec>, TinyMask][] = [
  [{}, "packed"],
  [{ positions: "rotary", headDim: 4 }, "packed"],
  [{ positions: "sinusoidal", attention: "banded", window: 2 }, "packed"],
];

for (const [variant, mask] of [...variants.map((variant) => [variant, undefined] as const), ...masked]) {
  const model = { ...MODEL, ...variant };
  const name = JSON.stringify(variant) + (mask ? ` ${mask}` : "");
  Deno.test(`accumulate() finds loss and gradients of a model with ${name}, by finite differences in f64`, async () => {
    const spec = tinySpec({ model });
    const engine = await openTiny(spec);
    const step = 9;
    const batch = tinyBatch(0, 3, model, mask);
    await stepOn(engine, batch, step, 0);
    const [{ lossSum, zSum }] = await engine.metrics();

    const drops = model.dropout > 0 || model.attentionDropout > 0;
    const key = drops ? { seed: spec.training!.seed, step } : null;
    const given = tinyWeights(engine.report);
    const weights: Weights = new Map(
      engine.report.parameters.map(({ name, shape }) => [name, {
        shape,
        values: Float64Array.from(given.get(name)!),
      }]),
    );
    const loss = () => referenceLoss(model, weights, batch, key);
    const wanted = loss();
    assertAlmostEquals(lossSum + model.zLoss * zSum, wanted, 2e-6 * wanted, "loss");

    const names = [...weights.keys()];
    const gradients = await Promise.all(names.map((name) => engine.read("gradient", name))); // a wait for all
    for (const [sub, name] of names.entries()) {
      const { values } = weights.get(name)!;
      const start = values.slice();
      const direction = normals(values.length, 1, 3, Stream.test, sub);
      const at = (distance: number) => {
        values.forEach((_, k) => values[k] = start[k] + distance * direction[k]);
        return loss();
      };
      const slope = (at(EPSILON) - at(-EPSILON)) / (2 * EPSILON);
      values.set(start);
      const found = gradients[sub].reduce((sum, g, k) => sum + g * direction[k], 0);
      const length = Math.hypot(...gradients[sub]);
      assertAlmostEquals(
        found,
        slope,
        1e-5 * length + 1e-7,
        `gradient of ${name}, whose length is ${length}`,
      );
    }
    await engine.close();
  });
}
