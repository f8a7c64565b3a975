/**
 * `deno task bench attention`: attention alone, forward and backward, with bands and with packed documents, as ratios
 * to dense causal attention of the same size. What is masked out should cost next to nothing.
 */

import { type Gpu, openGpu } from "../src/gpu/device.ts";
import { place } from "../src/gpu/place.ts";
import { Runtime } from "../src/gpu/program.ts";
import { Arena } from "../src/gpu/tensor.ts";
import { attention } from "../src/ops/attention.ts";
import { Graph } from "../src/ops/graph.ts";
import { matmulRoof, timeRun } from "./_matmul.ts";
import { noise, type Report, reportDrift } from "./_report.ts";

const T = 2048;
const NUM_HEADS = 4;
const HEAD_DIM = 64;
const WINDOWS = [64, 128, 256, 512, 1024];
const DOCUMENT = 256;

/** The keys that each token sees. */
interface Mask {
  /** Tokens see those before them in their document, of so many tokens. */
  readonly document: number;
  /** The last so many of these; null: all. */
  readonly window: number | null;
}

export async function benchAttention(report: Report): Promise<void> {
  const gpu = await openGpu();
  const before = await matmulRoof(gpu);
  const dense: Mask = { document: T, window: null };
  const denseSeconds = await secondsOf(gpu, dense);
  const sizes = `T ${T}, ${NUM_HEADS} heads of ${HEAD_DIM}`;
  report({ bench: "attention", case: `dense (${sizes})`, value: denseSeconds * 1000, unit: "ms" });
  const masks: [string, Mask][] = [
    ...WINDOWS.map((window): [string, Mask] => [`window ${window}`, { document: T, window }]),
    [`documents of ${DOCUMENT}`, { document: DOCUMENT, window: null }],
  ];
  for (const [name, mask] of masks) {
    const seconds = await secondsOf(gpu, mask);
    const share = pairs(mask) / pairs(dense);
    report({
      bench: "attention",
      case: name,
      value: seconds * 1000,
      unit: "ms",
      note: `${(seconds / denseSeconds).toFixed(3)} of dense, with ${share.toFixed(3)} of its pairs`,
    });
  }
  reportDrift(report, "attention", before, await matmulRoof(gpu), "GFLOP/s");
  gpu.close();
}

/** Pairs of a token and a key that it sees. */
function pairs({ document, window }: Mask): number {
  let count = 0;
  for (let t = 0; t < T; t++) count += Math.min(t % document + 1, window ?? T);
  return count;
}

/** Seconds of a forward and its backward. */
async function secondsOf(gpu: Gpu, { document, window }: Mask): Promise<number> {
  const [inputs, gradients] = ["inputs", "gradients"].map((name) => new Arena(name, gpu.limits.maxBuffer));
  const width = NUM_HEADS * HEAD_DIM;
  const qkv = inputs.add("qkv", [T, 3 * width]);
  const spans = inputs.add("spans", [T, 2], "u32");
  const seed = inputs.add("output gradient", [T, width]);
  const graph = new Graph(gpu.limits, {
    parameterGradients: new Map([[qkv, gradients.add("qkv", qkv.shape)]]),
  });
  const heads = (index: number) => ({ tensor: qkv, offset: index * width });
  const out = attention(graph, heads(0), heads(1), heads(2), {
    ...{ batch: 1, columns: T, numHeads: NUM_HEADS, numKvHeads: NUM_HEADS, headDim: HEAD_DIM },
    ...{ keys: { of: "own", rows: T }, spans, causal: true, window },
  });
  graph.seed(out, seed);
  graph.backward();

  const runtime = new Runtime(gpu);
  await runtime.allocate(inputs, gradients);
  const [program] = await runtime.load([place(graph)]);
  runtime.write(qkv.whole(), noise(qkv.size, 1));
  runtime.write(seed.whole(), noise(seed.size, 2));
  const seen = Int32Array.from({ length: 2 * T }, (_, i) => {
    const t = Math.floor(i / 2);
    return i % 2 === 0 ? t - t % document : t + 1;
  });
  runtime.write(spans.whole(), seen);
  const seconds = await timeRun({
    async run(times = 1) {
      for (let i = 0; i < times; i++) runtime.run(program, { rows: T, batch: 1, columns: T });
      await runtime.idle();
    },
  });
  runtime.close();
  return seconds;
}
