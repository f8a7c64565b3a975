import type { EngineLimits, Tensor } from "../../src/gpu/tensor.ts";
import { activation } from "../../src/ops/activation.ts";
import { add } from "../../src/ops/add.ts";
import { attention } from "../../src/ops/attention.ts";
import { crossEntropy } from "../../src/ops/crossEntropy.ts";
import { distanceBias } from "../../src/ops/distanceBias.ts";
import { dropout } from "../../src/ops/dropout.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { headNorm } from "../../src/ops/headNorm.ts";
import { linear } from "../../src/ops/linear.ts";
import { norm } from "../../src/ops/norm.ts";
import { rotary } from "../../src/ops/rotary.ts";
import { scale } from "../../src/ops/scale.ts";
import { fullBinding, testGpu } from "../_gpu.ts";
import { Harness, type LiveCase, VOCAB_SIZE } from "./harness.ts";

const KEY = { seed: 1234, site: 5, rate: 0.25 };
const HEADS = { numHeads: 4, numKvHeads: 2, headDim: 3, scale: 1 / Math.sqrt(3) };
const recorded = { batch: 3, columns: 7 };
const heads = (tensor: Tensor, before: number) => ({ tensor, offset: before * HEADS.headDim });

const cases: readonly LiveCase[] = [
  {
    op: "embedding",
    recorded,
    activations: {},
    parameters: { table: [VOCAB_SIZE, 5] },
    record: (graph, get, tokens) => embedding(graph, tokens, get("table")),
  },
  {
    op: "scale",
    options: { factor: 0.3 },
    recorded,
    activations: { x: 5 },
    parameters: {},
    record: (graph, get) => scale(graph, get("x"), 0.3),
  },
  {
    op: "rotary",
    options: { numHeads: 2, headDim: 5, interleaved: true },
    recorded,
    activations: { x: 15 },
    parameters: { table: [VOCAB_SIZE, 4] },
    record: (graph, get) =>
      rotary(graph, get("x"), get("places"), get("table"), {
        numHeads: 2,
        headDim: 5,
        rotaryDim: 4,
        interleaved: true,
      }),
  },
  {
    op: "linear",
    recorded: { batch: 3, columns: 23 }, // 69 rows: more than a tile
    activations: { x: 5 },
    parameters: { weight: [6, 5], bias: [6] },
    record: (graph, get) => linear(graph, get("x"), get("weight"), get("bias")),
  },
  {
    op: "layerNorm",
    options: { eps: 1e-5 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 5 },
    parameters: { weight: [5], bias: [5] },
    record: (graph, get) => norm(graph, "layernorm", get("x"), get("weight"), get("bias"), 1e-5),
  },
  {
    op: "rmsNorm",
    options: { eps: 1e-5 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 8 },
    parameters: { weight: [8] },
    record: (graph, get) => norm(graph, "rmsnorm", get("x"), get("weight"), null, 1e-5),
  },
  {
    op: "headNorm",
    options: { numHeads: 2, numKeyHeads: 1, eps: 1e-5 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 20 },
    parameters: { weight: [5], keyWeight: [5] },
    record: (graph, get) =>
      headNorm(
        graph,
        get("x"),
        [{ numHeads: 2, weight: get("weight") }, { numHeads: 1, weight: get("keyWeight") }],
        1e-5,
      ),
  },
  {
    op: "activation",
    options: { kind: "swiglu" },
    recorded,
    activations: { x: 10 },
    parameters: {},
    record: (graph, get) => activation(graph, get("x"), "swiglu"),
  },
  {
    op: "dropout",
    options: { ...KEY, step: 3 },
    recorded,
    activations: { x: 5 },
    parameters: {},
    record: (graph, get) => dropout(graph, get("x"), KEY.rate, { ...KEY, samples: get("sampleIds") }),
  },
  {
    op: "attention",
    options: { ...HEADS, ...KEY, step: 3, window: 0 },
    recorded: { batch: 3, columns: 70 }, // more than a block of queries
    activations: { qkv: 24 },
    parameters: {},
    record: (graph, get, _tokens, size) =>
      attention(graph, heads(get("qkv"), 0), heads(get("qkv"), 4), heads(get("qkv"), 6), {
        ...size,
        ...HEADS,
        keys: { of: "own", rows: size.columns },
        spans: get("spans"),
        causal: true,
        rate: KEY.rate,
        key: { ...KEY, samples: get("sampleIds") },
      }),
  },
  {
    op: "attention",
    name: "attention to another stack, with a bias",
    options: { ...HEADS, rate: 0, window: 0 },
    recorded: { batch: 3, columns: 70 },
    activations: { q: 12, kv: 12 },
    parameters: { table: [4, 4] },
    record: (graph, get, _tokens, size) =>
      attention(graph, heads(get("q"), 0), heads(get("kv"), 0), heads(get("kv"), 2), {
        ...size,
        ...HEADS,
        keys: { of: "source", rows: size.columns },
        spans: get("spans"),
        causal: false,
        bias: distanceBias(graph, get("table"), get("buckets")),
      }),
  },
  {
    op: "crossEntropy",
    options: { zLoss: 0.1, softCap: 2 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 5 },
    parameters: { weight: [VOCAB_SIZE, 5] },
    record(graph, get) {
      const loss = { targets: get("targets"), losses: get("losses"), sums: get("sums") };
      crossEntropy(graph, get("x"), get("weight"), loss, { zLoss: 0.1, logitSoftCap: 2 });
      return null;
    },
  },
];

async function withHarness(
  live: LiveCase,
  limits: Partial<EngineLimits>,
  body: (harness: Harness) => Promise<void>,
): Promise<void> {
  const harness = new Harness(await testGpu({ ...await fullBinding(), ...limits }), live);
  try {
    await harness.open();
    await body(harness);
  } finally {
    harness.close();
  }
}

const adapters: [string, (live: LiveCase) => Partial<EngineLimits>][] = [
  ["on this adapter", () => ({})],
  ["with the kernels for GPUs", () => ({ isSoftware: false, subgroupSize: 0 })],
  // Attention's spans have to fit, two numbers for each token.
  ["in windows of a few rows", ({ op }) => ({ maxBinding: op === "attention" ? 2048 : 1024 })],
];

for (const live of cases) {
  const { op, name = op, recorded: { batch, columns } } = live;
  for (const [where, limits] of adapters) {
    Deno.test(`${name} recorded for more rows and columns works on those in use ${where}`, async () => {
      await withHarness(live, limits(live), async (harness) => {
        await harness.check(live.recorded);
        await harness.check({ batch: batch - 1, columns: columns - 2 });
        await harness.check({ batch, columns: 1 });
        await harness.check({ batch: 1, columns });
        await harness.check({ batch: 1, columns: 1 });
        await harness.check(live.recorded);
      });
    });
  }
}

/** The op twice on the same inputs: the second backward adds to what the first one left. */
function twice(live: LiveCase): LiveCase {
  return {
    ...live,
    times: 2,
    record(...given) {
      const [a, b] = [live.record(...given), live.record(...given)];
      return a && b && add(given[0], a, b);
    },
  };
}

for (const live of cases) {
  Deno.test(`${live.name ?? live.op} adds to the gradients of inputs that are read twice`, async () => {
    for (const [, limits] of adapters) {
      await withHarness(twice(live), limits(live), (harness) => harness.check(live.recorded));
    }
  });
}
