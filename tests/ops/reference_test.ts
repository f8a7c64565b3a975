import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type OpCase, opCases, type OpName, referenceInputs, references } from "../../src/ops/cases.ts";
import { erf } from "../../src/ops/reference/erf.ts";
import type { Options } from "../../src/ops/reference/types.ts";
import { normals, Stream, uniform } from "../../src/random.ts";

/** An array in row-major order, and its shape. */
type Nested = readonly number[] | readonly (readonly number[])[];

function run(op: OpName, tensors: Record<string, Nested | Int32Array>, options: Options = {}): number[] {
  const inputs = Object.fromEntries(
    Object.entries(tensors).map(([name, values]) => {
      if (values instanceof Int32Array) return [name, { shape: [values.length], values }];
      const shape = Array.isArray(values[0]) ? [values.length, values[0].length] : [values.length];
      return [name, { shape, values: Float64Array.from(values.flat()) }];
    }),
  );
  return [...references[op].forward(inputs, options)];
}

function assertClose(actual: ArrayLike<number>, expected: readonly number[], tolerance = 1e-12): void {
  assertEquals(actual.length, expected.length);
  expected.forEach((value, i) => assertAlmostEquals(actual[i], value, tolerance));
}

Deno.test("erf() is right to 1e-14", () => {
  const known: [number, number][] = [
    [0, 0],
    [1e-9, 1.1283791670955126e-9],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [3, 0.9999779095030014],
    [5, 0.9999999999984626],
    [40, 1],
  ];
  for (const [x, y] of known) assertClose([erf(x), erf(-x)], [y, -y], 1e-14);
});

Deno.test("references.embedding picks rows", () => {
  assertEquals(run("embedding", { ids: Int32Array.of(2, 0), table: [[1, 2], [3, 4], [5, 6]] }), [5, 6, 1, 2]);
});

Deno.test("references.linear is x W^T + b", () => {
  const x = [[1, 2]];
  const weight = [[3, 4], [5, 6], [7, 8]];
  assertEquals(run("linear", { x, weight }), [11, 17, 23]);
  assertEquals(run("linear", { x, weight, bias: [1, 0, -1] }), [12, 17, 22]);
});

Deno.test("references.layerNorm and .rmsNorm normalise rows", () => {
  const x = [[1, 3], [-2, 2]];
  assertClose(run("layerNorm", { x, weight: [1, 10], bias: [0, 5] }, { eps: 3 }), [
    ...[-0.5, 10],
    ...[-2 / Math.sqrt(7), 20 / Math.sqrt(7) + 5],
  ]);
  assertClose(run("rmsNorm", { x, weight: [1, 10] }, { eps: 4 }), [
    ...[1 / 3, 10],
    ...[-2 / Math.sqrt(8), 20 / Math.sqrt(8)],
  ]);
});

Deno.test("references.rotary turns pairs of each head by the angles of the token's place", () => {
  // B 1, T 2, two heads of three dimensions of which two are turned, and one that is not; places 1 and 0
  const row = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const x = { shape: [1, 2, 9], values: Float64Array.from([...row, ...row]) };
  const table = { shape: [2, 2], values: Float64Array.of(1, 0, 0, 1) }; // place 1: a right angle
  const places = { shape: [2], values: Int32Array.of(1, 0) };
  const options = { numHeads: 2, headDim: 3, interleaved: false };
  const turned = [-2, 1, 3, -5, 4, 6, 7, 8, 9];
  assertEquals([...references.rotary.forward({ x, places, table }, options)], [...turned, ...row]);
});

Deno.test("references.rotary pairs halves, or neighbours where interleaved", () => {
  const x = { shape: [1, 1, 4], values: Float64Array.of(1, 2, 3, 4) };
  const table = { shape: [1, 4], values: Float64Array.of(0, 1, 1, 0) }; // pair 0: a right angle
  const places = { shape: [1], values: Int32Array.of(0) };
  const turn = (interleaved: boolean) =>
    references.rotary.forward({ x, places, table }, { numHeads: 1, headDim: 4, interleaved });
  assertEquals([...turn(false)], [-3, 2, 1, 4]);
  assertEquals([...turn(true)], [-2, 1, 3, 4]);
});

Deno.test("references.headNorm normalises heads by the weight of their run, and copies the rest", () => {
  const tensors = { x: [[1, 7, -1, 1, 3, 4]], weight: [1, 10], keyWeight: [2, 3] };
  assertClose(run("headNorm", tensors, { numHeads: 1, numKeyHeads: 1, eps: 0 }), [
    ...[1 / 5, 70 / 5],
    ...[-2, 3],
    ...[3, 4],
  ]);
});

Deno.test("references.activation has every curve, and the gate in the second half", () => {
  const at = (kind: string, ...x: number[]) => run("activation", { x: [x] }, { kind });
  const sigmoid1 = 1 / (1 + Math.exp(-1));
  assertClose(at("gelu", 1, -1), [0.8411919906082768, -0.15880800939172324]);
  assertClose(at("geluErf", 1, -1), [0.8413447460685429, -0.15865525393145707]);
  assertClose(at("relu", 3, -3), [3, 0]);
  assertClose(at("silu", 1, -1), [sigmoid1, sigmoid1 - 1]);
  assertClose(at("swiglu", 5, 7, 1, -1), [5 * sigmoid1, 7 * (sigmoid1 - 1)]);
  assertClose(at("geglu", 5, 7, 1, -1), [5 * 0.8413447460685429, 7 * -0.15865525393145707]);
  assertClose(at("reglu", 5, 7, 3, -3), [15, 0]);
});

Deno.test("references.crossEntropy sums over the targets that are not ignored", () => {
  const x = [[0, 0], [0, Math.log(3)], [1000, 0]];
  const weight = [[1, 0], [0, 1]];
  const targets = Int32Array.of(0, 1, 1);
  const lse = [Math.log(2), Math.log(4), 1000];
  const plain = lse[0] + (lse[1] - Math.log(3)) + 1000;
  const squares = lse[0] ** 2 + lse[1] ** 2 + 1000 ** 2;
  assertClose(run("crossEntropy", { x, weight, targets }, { zLoss: 0, softCap: 0 }), [plain]);
  assertClose(run("crossEntropy", { x, weight, targets }, { zLoss: 0.5, softCap: 0 }), [
    plain + 0.5 * squares,
  ], 1e-9);
  const ignored = Int32Array.of(0, -100, -100);
  assertClose(run("crossEntropy", { x, weight, targets: ignored }, { zLoss: 0, softCap: 0 }), [Math.log(2)]);
});

Deno.test("references.crossEntropy caps logits softly", () => {
  const weight = [[1, 0], [0, 1]];
  const targets = Int32Array.of(1, 0);
  const capped = [3 * Math.tanh(2 / 3), 3]; // of 2 and of 1000
  const loss = Math.log(1 + Math.exp(capped[0])) + Math.log(1 + Math.exp(-capped[1]));
  const x = [[2, 0], [1000, 0]];
  assertClose(run("crossEntropy", { x, weight, targets }, { zLoss: 0, softCap: 3 }), [loss]);
});

Deno.test("references.gradNorm is the norm of the mean gradient", () => {
  assertClose(run("gradNorm", { grads: [3, -4] }, { count: 2 }), [2.5]);
});

Deno.test("references.adamw clips, decays and corrects the bias", () => {
  const tensors = { param: [1, 1], grad: [6, -8], moment1: [0, 0], moment2: [0, 0] };
  const options = {
    learningRate: 0.1,
    beta1: 0.9,
    beta2: 0.99,
    eps: 0,
    weightDecay: 0.5,
    step: 1,
    count: 2,
  };
  // The first step moves by the learning rate, whatever the gradient's size; the moments show the clip.
  assertClose(run("adamw", tensors, { ...options, clip: 0 }), [0.85, 1.05, 0.3, -0.4, 0.09, 0.16]);
  assertClose(
    run("adamw", tensors, { ...options, clip: 1 }),
    [0.85, 1.05, 0.06, -0.08, 0.0036, 0.0064],
    1e-7,
  );
  const second = { ...tensors, grad: [0, 0], moment1: [0.19, 0.19], moment2: [0.0199, 0.0199] };
  const next = run("adamw", second, { ...options, clip: 1, step: 2 });
  const moved = 0.1 * (0.9 * 0.19 / 0.19) / Math.sqrt(0.99 * 0.0199 / 0.0199);
  assertClose(next.slice(0, 2), [0.95 - moved, 0.95 - moved]);
});

Deno.test("references.adafactor factors a matrix's second moment, clips the update and scales the step", () => {
  const options = { learningRate: 0.1, beta1: 0, eps: 0, weightDecay: 0.5, clip: 0, count: 2, step: 1 };
  // Mean squares 12.5 of each row, 4.5 and 20.5 of the columns: those are the variances of their elements.
  const matrix = {
    param: [[2, 2], [2, 2]],
    grad: [[6, 8], [0, 10]],
    "moment2.rows": [7, 8],
    "moment2.columns": [9, 10],
  };
  const update = [3 / Math.sqrt(4.5), 4 / Math.sqrt(20.5), 0, 5 / Math.sqrt(20.5)]; // of root mean square 1
  const moments = [12.5, 12.5, 4.5, 20.5];
  const plain = update.map((u) => 1.9 - 0.1 * u);
  assertClose(run("adafactor", matrix, options), [...plain, ...moments]);
  const scaled = update.map((u) => 1.9 - 0.2 * u);
  assertClose(run("adafactor", matrix, { ...options, scaleParameter: true }), [...scaled, ...moments]);

  const vector = { param: [0], grad: [8], moment2: [1], moment1: [1] };
  const variance = 1 + 15 * 2 ** -0.8; // of the second step; the update, 4 / sqrt(9.6), is clipped to 1
  const next = run("adafactor", vector, { ...options, step: 2, beta1: 0.9, scaleParameter: true });
  const moment1 = 0.9 + 0.1 * 0.1 * 1e-3;
  assertClose(next, [-moment1, variance, moment1]);
  // Adam's share of the second step is 1 / (1 + beta2).
  const small = run("adafactor", { ...vector, grad: [1] }, { ...options, step: 2, beta2: 0.5 });
  assertClose(small, [-0.1 * 0.5 / Math.sqrt(0.5), 1 / 3 + 2 / 3 * 0.25]); // 0.5: the second moment
});

Deno.test("opCases have unique names, every op, and the same values on every call", () => {
  assertEquals(new Set(opCases.map(({ op, name }) => `${op} ${name}`)).size, opCases.length);
  for (const op of Object.keys(references)) {
    for (const sizes of ["tiny", "model"]) {
      assert(
        opCases.some((opCase) => opCase.op === op && opCase.sizes === sizes),
        `${op} has no ${sizes} case`,
      );
    }
  }
  for (const opCase of opCases.filter(({ sizes }) => sizes === "tiny")) {
    assertEquals(opCase.tensors(), opCase.tensors());
  }
});

for (const op of ["dropout", "attention"] as const) {
  Deno.test(`references.${op} treats a sample the same in any batch`, () => {
    for (const opCase of opCases.filter(({ op: name, sizes }) => name === op && sizes === "tiny")) {
      const tensors = opCase.tensors().map((tensor) => {
        if (["slopes", "table", "buckets"].includes(tensor.name)) return tensor; // the same for all samples
        const last = tensor.values.subarray(-tensor.values.length / tensor.shape[0]);
        return { ...tensor, shape: [1, ...tensor.shape.slice(1)], values: last };
      });
      const whole = references[op].forward(referenceInputs(opCase.tensors()), opCase.options);
      const part = references[op].forward(referenceInputs(tensors), opCase.options);
      assertEquals(part, whole.subarray(-part.length));
    }
  });
}

const STEP = 1e-5;
const SAMPLES = 12;

/** Holds the reference's backward against central differences of its forward, for sum(out * dOut). */
function checkGradients({ op, options, tensors, sizes }: OpCase): void {
  const inputs = referenceInputs(tensors());
  const out = references[op].forward(inputs, options);
  const dOut = Float64Array.from(normals(out.length, 1, 1, Stream.test, 0));
  const gradients = references[op].backward(inputs, dOut, options);
  const loss = () => references[op].forward(inputs, options).reduce((sum, y, i) => sum + y * dOut[i], 0);
  const differentiable = tensors().filter(({ grad }) => grad).map(({ name }) => name);
  assertEquals(Object.keys(gradients).sort(), differentiable.sort());

  for (const [name, gradient] of Object.entries(gradients)) {
    const values = inputs[name].values;
    assertEquals(gradient.length, values.length, name);
    const start = values.slice();
    /** The slope of the loss at `start` along a direction, a factor for each element. */
    const slope = (direction: (i: number) => number) => {
      const [up, down] = [STEP, -STEP].map((step) => {
        for (let i = 0; i < values.length; i++) values[i] = start[i] + step * direction(i);
        return loss();
      });
      values.set(start);
      return (up - down) / (2 * STEP);
    };
    const norm = Math.sqrt(gradient.reduce((sum, g) => sum + g ** 2, 0));
    const tolerance = 1e-6 * (norm + 1);
    // All elements at once, each by a factor of its own: a wrong one anywhere shows.
    const factors = normals(values.length, 1, 1, Stream.test, 1);
    const expected = gradient.reduce((sum, g, i) => sum + g * factors[i], 0);
    assertAlmostEquals(slope((i) => factors[i]), expected, tolerance, `${name} in a random direction`);
    if (sizes === "model") continue;
    // One by one: all of a small tensor, else a sample.
    const count = Math.min(values.length, SAMPLES);
    for (let n = 0; n < count; n++) {
      const at = values.length <= SAMPLES ? n : Math.floor(uniform(1, Stream.test, 2, n) * values.length);
      assertAlmostEquals(slope((i) => i === at ? 1 : 0), gradient[at], tolerance, `${name}[${at}]`);
    }
  }
}

for (const op of Object.keys(references)) {
  const cases = opCases.filter((opCase) => opCase.op === op && opCase.tensors().some(({ grad }) => grad));
  if (cases.length === 0) continue; // norm and optimizers have no gradient
  Deno.test(`references.${op}.backward() agrees with finite differences`, async (t) => {
    for (const opCase of cases) {
      await t.step(opCase.name, () => checkGradients(opCase));
    }
  });
}
