import appendText from "../../shaders/cache_append.wgsl" with { type: "text" };
import backwardText from "../../shaders/attention_backward.wgsl" with { type: "text" };
import forwardText from "../../shaders/attention_forward.wgsl" with { type: "text" };
import sharedText from "../../shaders/attention.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import { type DropoutKey, dropoutUniforms } from "./dropout.ts";
import type { Graph } from "./graph.ts";
import { shader, width } from "./rowwise.ts";

const shared = { name: "attention.wgsl", text: sharedText };
const forwardSource = shader("attention_forward.wgsl", forwardText, [shared]);
const backwardSource = shader("attention_backward.wgsl", backwardText, [shared]);
const appendSource = shader("cache_append.wgsl", appendText);

export interface AttentionShape {
  readonly batch: number; // B
  readonly columns: number; // T
  readonly numHeads: number; // NH
  readonly numKvHeads: number; // NK
  readonly headDim: number; // HS
}

export interface AttentionOptions extends AttentionShape {
  /** Dropout of the attention weights; needs a key where it is not 0. */
  readonly rate?: number;
  readonly key?: DropoutKey;
  /** Keys and values of earlier calls: (B, S, 2 NK HS). Only without a backward. */
  readonly cache?: Tensor;
}

/**
 * Causal attention, grouped keys and values where numKvHeads < numHeads.
 *
 * @param qkv (B*T, (NH + 2 NK) * HS): query heads, key heads, value heads
 * @returns (B*T, NH*HS)
 * @throws RangeError if one sample does not fit a binding
 */
export function attention(graph: Graph, qkv: Tensor, options: AttentionOptions): Tensor {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS, rate = 0, key, cache } = options;
  const W = width(qkv);
  const O = NH * HS;
  const out = graph.tensor(qkv.name.replace("qkv", "attention"), [batch * columns, O]); // (B*T, NH*HS)
  const lse = graph.tensor(`${out.name} lse`, [batch * columns, NH]); // (B*T, NH)
  const LANES = graph.limits.isSoftware ? 8 : 64;
  const VEC = HS % 4 === 0;
  const constants = { NH, NK, HS, LANES };
  const scale = 1 / Math.sqrt(HS);
  const cacheRows = cache?.shape[1] ?? 0;
  const windows = rowWindows(batch, graph.limits, [columns * W, cacheRows * 2 * NK * HS]);
  const drop = key !== undefined && rate > 0 ? dropoutArguments(rate, key) : null;
  const inUse = (live: Live, from: number, to: number) => Math.min(to - from, Math.max((live.batch ?? 0) - from, 0));
  const tokens = (tensor: Tensor, from: number, to: number) => tensor.rows(from * columns, to * columns);
  // Half of the (T, T) products are masked out and not computed.
  const pairs = batch * NH * columns * (columns + 1) / 2;

  if (cache !== undefined) appendToCache(graph, qkv, cache, NH * HS);
  for (const { from, to } of windows) {
    graph.dispatch(forwardSource.kernel({ ...constants, VEC, CACHE: cache !== undefined, DROP: drop !== null }), {
      tensors: {
        qkv: tokens(qkv, from, to),
        ...(cache ? { cache: cache.rows(from, to) } : {}),
        ...drop?.tensors,
        out: tokens(out, from, to),
        lse: tokens(lse, from, to),
      },
      uniforms: {
        sample0: from,
        samples: to - from,
        width: W,
        scale,
        ...(cache ? { cache_rows: cacheRows } : {}),
        ...drop?.uniforms,
      },
      groups: (live) => inUse(live, from, to) * NH * Math.ceil((live.columns ?? 0) / LANES),
      flops: 4 * HS * pairs * (to - from) / batch,
    });
  }

  graph.onBackward(out, (dout) => {
    const target = graph.target(qkv);
    if (target === null) return;
    const dqkv = target.tensor;
    const delta = graph.tensor(`${out.name} delta`, [batch * columns, NH]); // (B*T, NH)
    for (const { from, to } of windows) {
      const uniforms = { sample0: from, samples: to - from, width: W, scale };
      const share = (to - from) / batch;
      graph.dispatch(backwardSource.kernel({ ...constants, VEC, DROP: false, ACC: false, STEP: "delta" }), {
        tensors: { out: tokens(out, from, to), dout: tokens(dout, from, to), delta: tokens(delta, from, to) },
        uniforms,
        groups: (live) => Math.ceil(inUse(live, from, to) * (live.columns ?? 0) * NH / LANES),
        flops: 2 * (to - from) * columns * O,
      });
      for (const step of ["query", "key"] as const) {
        const heads = step === "query" ? NH : NK;
        const accumulate = target.accumulate;
        graph.dispatch(
          backwardSource.kernel({ ...constants, VEC, DROP: drop !== null, ACC: accumulate, STEP: step }),
          {
            tensors: {
              qkv: tokens(qkv, from, to),
              dout: tokens(dout, from, to),
              lse: tokens(lse, from, to),
              delta: tokens(delta, from, to),
              ...drop?.tensors,
              dqkv: tokens(dqkv, from, to),
            },
            uniforms: { ...uniforms, ...drop?.uniforms },
            groups: (live) => inUse(live, from, to) * heads * Math.ceil((live.columns ?? 0) / LANES),
            flops: (step === "query" ? 6 : 8) * HS * pairs * share,
          },
        );
      }
    }
  });
  return out;
}

function dropoutArguments(rate: number, key: DropoutKey) {
  const { scale, ...uniforms } = dropoutUniforms(rate, key);
  return { tensors: { ids: key.samples }, uniforms: { ...uniforms, drop_scale: scale } };
}

function appendToCache(graph: Graph, qkv: Tensor, cache: Tensor, offset: number): void {
  const [, cacheRows, kvWidth] = cache.shape;
  graph.dispatch(appendSource.kernel(), {
    tensors: { qkv, cache },
    uniforms: { width: width(qkv), offset, kv_width: kvWidth, cache_rows: cacheRows },
    groups: (live) => Math.ceil((live.rows ?? 0) * kvWidth / 64),
  });
}
