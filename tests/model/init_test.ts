import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { initialValues, type InitOptions } from "../../src/model/init.ts";

const OPTIONS: InitOptions = {
  seed: 7,
  initStd: 0.02,
  scaledResidualInit: true,
  numLayers: 8,
  numEncoderLayers: 2,
};

function standardDeviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

Deno.test("initialValues() sets norm weights to 1 and biases to 0", () => {
  assertEquals(
    initialValues({ name: "final_norm.weight", shape: [3] }, OPTIONS),
    new Float32Array([1, 1, 1]),
  );
  assertEquals(initialValues({ name: "final_norm.bias", shape: [3] }, OPTIONS), new Float32Array(3));
  assertEquals(initialValues({ name: "blocks.0.attn.qkv.bias", shape: [3] }, OPTIONS), new Float32Array(3));
});

Deno.test("initialValues() draws matrices from N(0, initStd), residual outputs from a narrower one", () => {
  const shape = [101, 101];
  const wide = standardDeviation(initialValues({ name: "blocks.0.attn.qkv.weight", shape }, OPTIONS));
  assertAlmostEquals(wide, 0.02, 0.0006);
  for (const name of ["blocks.0.attn.out.weight", "blocks.1.cross.out.weight", "blocks.7.mlp.down.weight"]) {
    assertAlmostEquals(standardDeviation(initialValues({ name, shape }, OPTIONS)), 0.02 / 4, 0.00015);
    const plain = initialValues({ name, shape }, { ...OPTIONS, scaledResidualInit: false });
    assertAlmostEquals(standardDeviation(plain), 0.02, 0.0006);
  }
});

Deno.test("initialValues() depends on seed and name alone", () => {
  const parameter = { name: "tok_emb", shape: [13, 5] };
  const values = initialValues(parameter, OPTIONS);
  assertEquals(values.length, 65);
  assert(values.every(Number.isFinite));
  assertEquals(initialValues(parameter, OPTIONS), values);
  assertNotEquals(initialValues(parameter, { ...OPTIONS, seed: 8 }), values);
  assertNotEquals(initialValues({ ...parameter, name: "pos_emb" }, OPTIONS), values);
});

Deno.test("initialValues() narrows an encoder's residual outputs by its own depth", () => {
  const shape = [160, 160];
  const encoder = standardDeviation(
    initialValues({ name: "encoder.blocks.0.mlp.down.weight", shape }, OPTIONS),
  );
  assertAlmostEquals(encoder, OPTIONS.initStd / Math.sqrt(2 * OPTIONS.numEncoderLayers), 0.0003);
});
