import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { type Batch, countTargets, IGNORE, sliceBatch } from "../../src/data/batch.ts";
import type { LocalEngine, LocalEngineOptions } from "../../src/engine/localEngine.ts";
import type { TrainingSpec } from "../../src/engine/spec.ts";
import { MODEL, openTiny, stateDigest, threeSteps, tinyBatch, type TinyMask, tinySpec } from "./tiny.ts";

/** Large enough that windows of 16 KiB cut activations, weights, logits and gradients. */
const WIDE: ModelSpec = {
  ...MODEL,
  modelDim: 40,
  numHeads: 6,
  numKvHeads: 3,
  headDim: 8,
  ffnDim: 110,
  vocabSize: 131,
  seqLen: 27,
  dropout: 0.1,
  attentionDropout: 0.1,
};

/**
 * What f32's rounding alone makes of sums in another order; found on a software adapter: 4e-7 for micro-batches, 2.5e-6 for
 * documents, whose softmax sums in other lanes, 3.8e-6 for logits.
 */
const MICRO_BATCH_BOUND = 2e-6;
const DOCUMENT_BOUND = 1e-5;
const LOGIT_BOUND = 1e-5;

/** Models that run all code between them. */
const MODELS: Record<string, { readonly model: ModelSpec; readonly mask: TinyMask }> = {
  "T5-style encoder and decoder": {
    model: {
      ...WIDE,
      architecture: "encoderDecoder",
      numEncoderLayers: 1,
      positions: "t5",
      t5NumBuckets: 8,
      t5MaxDistance: 20,
      activation: "gegluTanh",
      norm: "rmsnorm",
      bias: false,
      scaleScores: false,
      scaleOutput: true,
    },
    mask: "plain",
  },
  "non-causal decoder with rotary positions and QK-norm": {
    model: { ...WIDE, architecture: "nonCausalDecoder", positions: "rotary", qkNorm: true, tied: false },
    mask: "prefix",
  },
  "banded decoder of packed documents with ALiBi": {
    model: { ...WIDE, positions: "alibi", attention: "alternating", window: 5, embeddingNorm: true },
    mask: "separate",
  },
  "parallel decoder of packed documents with learned positions": {
    model: { ...WIDE, parallelResidual: true, activation: "swiglu", zLoss: 0.01 },
    mask: "packed",
  },
};

for (const [name, { model, mask }] of Object.entries(MODELS)) {
  const digestWith = async (training: Partial<TrainingSpec>, options: LocalEngineOptions = {}) => {
    const engine = await openTiny(tinySpec({ model, training }), options);
    await threeSteps(engine, model, 3, mask);
    assert((await engine.metrics()).every(({ halted }) => !halted));
    const digest = await stateDigest(engine);
    await engine.close();
    return digest;
  };

  Deno.test(`recompute, and windows of 64 and 16 KiB, change no bit of a ${name}`, async () => {
    const expected = await digestWith({});
    assertEquals(await digestWith({ recompute: true }), expected, "recompute");
    assertEquals(await digestWith({}, { maxBinding: 65536 }), expected, "64 KiB");
    assertEquals(await digestWith({}, { maxBinding: 16384 }), expected, "16 KiB");
  });

  Deno.test(`the micro-batch's size changes a ${name}'s gradients by rounding alone`, async () => {
    const engine = await openTiny(tinySpec({ model, microBatchSize: 5 }));
    const batch = tinyBatch(0, 5, model, mask);
    const cuts = [[0, 5], [0, 1, 2, 3, 4, 5], [0, 2, 4, 5], [0, 4, 5]];
    const [expected, ...others] = await Array.fromAsync(cuts, (cut) => {
      return gradientsOf(engine, cut.slice(1).map((to, i) => sliceBatch(batch, cut[i], to)));
    });
    for (const gradients of others) assertGradients(gradients, expected, MICRO_BATCH_BOUND);
    await engine.close();
  });
}

const POSITIONS: Partial<ModelSpec>[] = [
  { positions: "none" },
  { positions: "learned" },
  { positions: "sinusoidal" },
  { positions: "rotary", rotaryFraction: 0.5 },
  { positions: "rotaryInterleaved" },
  { positions: "alibi" },
  { positions: "t5", t5NumBuckets: 8, t5MaxDistance: 20 },
  { positions: "alibi", attention: "banded", window: 3 },
];

for (const positions of POSITIONS) {
  const model: ModelSpec = { ...WIDE, dropout: 0, attentionDropout: 0, ...positions };
  for (const mask of ["separate", "packed"] as const) {
    const restarts = mask === "packed";
    const name = `${restarts ? "restarted" : "plain"} places and ${JSON.stringify(positions)}`;
    Deno.test(`packed documents with ${name} give what each gives alone`, async () => {
      const engine = await openTiny(tinySpec({ model, microBatchSize: 6 }));
      const packed = tinyBatch(0, 2, model, mask);
      const alone = oneByOne(packed, restarts);
      assertEquals(countTargets(alone), countTargets(packed));
      const logits = await engine.logits(packed); // (B*T, V)
      const logitsAlone = await engine.logits(alone); // (B * documents * T, V)
      const V = model.vocabSize;
      for (const [at, to] of placesIn(packed)) {
        assertLogits(logits.subarray(at * V, (at + 1) * V), logitsAlone.subarray(to * V, (to + 1) * V));
      }
      const expected = await gradientsOf(engine, [alone]);
      assertGradients(await gradientsOf(engine, [packed]), expected, DOCUMENT_BOUND);
      await engine.close();
    });
  }
}

/** Columns at which the documents of tinyBatch() start. */
const STARTS = [0, 2, 3];

/** The index of each token of packed rows (B, T), and the one that it has in oneByOne(). */
function placesIn({ rows, columns: T }: Batch): [number, number][] {
  return Array.from({ length: rows * T }, (_, at) => {
    const [row, column] = [Math.floor(at / T), at % T];
    const document = STARTS.findLastIndex((start) => start <= column);
    return [at, (row * STARTS.length + document) * T + column - STARTS[document]];
  });
}

/** Packed rows (B, T) with a row for each document: (B * documents, T), padded at the right. */
function oneByOne(packed: Batch, restarts: boolean): Batch {
  const { rows, columns: T } = packed;
  const alone = rows * STARTS.length;
  const batch = {
    rows: alone,
    columns: T,
    inputs: new Int32Array(alone * T),
    targets: new Int32Array(alone * T).fill(IGNORE),
    sampleIds: Uint32Array.from({ length: alone }, (_, row) => row),
  };
  const places = new Uint32Array(alone * T);
  for (const [at, to] of placesIn(packed)) {
    batch.inputs[to] = packed.inputs[at];
    batch.targets[to] = packed.targets[at];
    places[to] = at % T;
  }
  return restarts ? batch : { ...batch, places };
}

Deno.test("padding behind an encoder's source changes nothing", async () => {
  const { model } = MODELS["T5-style encoder and decoder"];
  const engine = await openTiny(tinySpec({ model }));
  const padded = tinyBatch(1, 1, model); // two tokens of five
  const { source } = padded;
  assert(source?.spans !== undefined && source.spans[1] === 2);
  const cut = { columns: 2, inputs: source.inputs.slice(0, 2) };
  assertLogits(await engine.logits({ ...padded, source: cut }), await engine.logits(padded));
  const others = { ...source, inputs: source.inputs.map((id, i) => i < 2 ? id : model.vocabSize - 1 - id) };
  assertEquals(await engine.logits({ ...padded, source: others }), await engine.logits(padded));
  await engine.close();
});

type Gradients = ReadonlyMap<string, Float32Array>;

async function readGradients(engine: LocalEngine): Promise<Gradients> {
  const reads = engine.report.parameters.map(async ({ name }) =>
    [name, await engine.read("gradient", name)] as const
  );
  return new Map(await Promise.all(reads));
}

async function gradientsOf(engine: LocalEngine, batches: readonly Batch[]): Promise<Gradients> {
  await engine.beginStep();
  for (const batch of batches) await engine.accumulate(batch, 1);
  await engine.endWorker(0);
  return await readGradients(engine);
}

/** @param bound the largest difference, as a share of the tensor's largest element */
function assertGradients(found: Gradients, expected: Gradients, bound: number): void {
  for (const [name, values] of expected) {
    const difference = largest(values.map((value, i) => value - found.get(name)![i]));
    assert(difference <= bound * largest(values), `${name}: ${difference} of ${largest(values)}`);
  }
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function assertLogits(found: Float32Array, expected: Float32Array): void {
  assertEquals(found.length, expected.length);
  expected.forEach((logit, i) =>
    assertAlmostEquals(found[i], logit, LOGIT_BOUND * (1 + Math.abs(logit)), `logit ${i}`)
  );
}
