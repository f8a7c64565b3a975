import { assert, assertEquals } from "@std/assert";
import { namesOf, POSITIONS } from "../../src/config/axes.ts";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { readModelSpec } from "../../src/train/modelFiles.ts";
import { loadWeights } from "../../src/train/weights.ts";
import { fullForward, inferenceEngine, someTokens, tinySpec, writeRandomWeights } from "./support.ts";

/** Columns of the engines, more than a prefill's 64 tokens. */
const COLUMNS = 73;
/** What models were trained with where their positions don't end there. */
const TRAINED = 20;
/** Tokens that are read first: on both sides of a prefill. */
const PROMPTS = [1, 3, 65, 70];

const ARCHITECTURES: readonly Partial<ModelSpec>[] = [
  { architecture: "causalDecoder" },
  { architecture: "nonCausalDecoder" },
  { architecture: "encoderDecoder", numEncoderLayers: 1 },
];

/** Every kind; settings that do not belong to it say nothing. */
const KINDS_OF_POSITIONS = namesOf(POSITIONS).map((positions): Partial<ModelSpec> => ({
  positions,
  ...(POSITIONS[positions].rowPerPlace ? { seqLen: COLUMNS } : {}),
  ...(POSITIONS[positions].pairs === "neighbours" ? { rotaryFraction: 0.5 } : {}),
  ...{ t5NumBuckets: 8, t5MaxDistance: 30 },
}));

const VARIANTS: readonly Partial<ModelSpec>[] = [
  ...ARCHITECTURES.flatMap((shape) => KINDS_OF_POSITIONS.map((positions) => ({ ...shape, ...positions }))),
  { positions: "rotary", numKvHeads: 1, qkNorm: true, logitSoftCap: 0.5 },
  { positions: "alibi", numKvHeads: 3, numHeads: 3, embeddingNorm: true, parallelResidual: true },
  { positions: "sinusoidal", attention: "banded", window: 7 },
  { positions: "t5", t5NumBuckets: 8, t5MaxDistance: 30, attention: "alternating", window: 66 },
  { positions: "rotary", attention: "banded", window: 1, norm: "rmsnorm", activation: "swiglu" },
  { architecture: "nonCausalDecoder", positions: "rotary", numKvHeads: 1, qkNorm: true },
  {
    ...{ architecture: "encoderDecoder", numEncoderLayers: 2, positions: "t5", norm: "rmsnorm", bias: false },
    ...{ t5NumBuckets: 8, t5MaxDistance: 30, scaleScores: false, scaleOutput: true, activation: "geglu" },
    ...{ attention: "banded", window: 5, numKvHeads: 1, qkNorm: true },
  },
];

/** Logits (V) agree but for rounding. */
function assertClose(found: Float32Array, full: Float32Array, column: number, what: string) {
  const wanted = full.subarray(column * found.length, (column + 1) * found.length);
  assertEquals(found.length, wanted.length);
  wanted.forEach((b, i) => {
    const limit = 2e-5 + 2e-5 * Math.abs(b);
    assert(Math.abs(found[i] - b) <= limit, `${what}: ${found[i]}, not ${b}`);
  });
}

/** Reads a prompt, then a token, then all others, and compares what follows each with the full forward. */
async function comparePrompt(engine: Engine, spec: ModelSpec, row: Int32Array, prompt: number) {
  const source = spec.numEncoderLayers > 0 ? someTokens(prompt, spec.vocabSize, 11) : undefined;
  const prefix = spec.architecture === "nonCausalDecoder" ? prompt : 0;
  const full = await fullForward(engine, row, { source, prefix }); // (T, V)
  if (source !== undefined) await engine.encode(source);
  for (const [from, to] of [[0, prompt], [prompt, prompt + 1], [prompt + 1, row.length]]) {
    const found = await engine.next(row.subarray(from, to), from);
    assertClose(found, full, to - 1, `prompt of ${prompt}, tokens ${from} to ${to}`);
  }
}

for (const variant of VARIANTS) {
  Deno.test(`next() agrees with the full forward, ${JSON.stringify(variant)}`, async () => {
    const sizes = { seqLen: TRAINED, numHeads: 2, numKvHeads: 2, headDim: 12, modelDim: 24, vocabSize: 19 };
    const spec = tinySpec({ ...sizes, ...variant });
    const engine = await inferenceEngine(spec, 1, COLUMNS);
    try {
      await writeRandomWeights(engine);
      const row = someTokens(COLUMNS, spec.vocabSize);
      for (const prompt of PROMPTS) await comparePrompt(engine, spec, row, prompt);
    } finally {
      await engine.close();
    }
  });
}

Deno.test("next() agrees with the full forward of GPT-2 and T5, token by token", async () => {
  for (const name of ["gpt2", "t5_v1_1"]) {
    const folder = new URL(`../fixtures/hf/${name}`, import.meta.url).pathname;
    const spec = readModelSpec(folder);
    const columns = 9;
    const engine = await inferenceEngine(spec, 1, columns);
    try {
      await loadWeights(engine, folder, spec);
      const source = spec.numEncoderLayers > 0 ? someTokens(5, spec.vocabSize, 11) : undefined;
      const row = someTokens(columns, spec.vocabSize);
      const full = await fullForward(engine, row, { source });
      if (source !== undefined) await engine.encode(source);
      for (let column = 0; column < columns; column++) {
        assertClose(await engine.next(row.subarray(column, column + 1), column), full, column, name);
      }
    } finally {
      await engine.close();
    }
  }
});
