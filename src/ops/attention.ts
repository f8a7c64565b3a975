import appendText from "../../shaders/cache_append.wgsl" with { type: "text" };
import deltaText from "../../shaders/attention_delta.wgsl" with { type: "text" };
import lanesText from "../../shaders/attention_product_lanes.wgsl" with { type: "text" };
import operandsText from "../../shaders/attention_operands.wgsl" with { type: "text" };
import productText from "../../shaders/attention_product.wgsl" with { type: "text" };
import sharedText from "../../shaders/attention.wgsl" with { type: "text" };
import softmaxText from "../../shaders/attention_softmax.wgsl" with { type: "text" };
import turnText from "../../shaders/attention_turn.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import { ALIGNMENT, type Slice, type Tensor } from "../gpu/tensor.ts";
import { type DropoutKey, dropoutUniforms } from "./dropout.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const shared = [
  { name: "attention.wgsl", text: sharedText },
  { name: "attention_operands.wgsl", text: operandsText },
];
const productSource = shader("attention_product.wgsl", productText, shared);
const lanesSource = shader("attention_product_lanes.wgsl", lanesText, shared);
const softmaxSource = shader("attention_softmax.wgsl", softmaxText, shared);
const turnSource = shader("attention_turn.wgsl", turnText, shared);
const deltaSource = shader("attention_delta.wgsl", deltaText);
const appendSource = shader("cache_append.wgsl", appendText);

/** Queries whose products with their keys exist at the same time: part of the canonical order. */
const BLOCK = 64;

export interface AttentionOptions {
  readonly batch: number; // B
  readonly columns: number; // T
  readonly numHeads: number; // NH
  readonly numKvHeads: number; // NK
  readonly headDim: number; // HS
  /** Dropout of the attention weights; needs a key where it is not 0. */
  readonly rate?: number;
  readonly key?: DropoutKey;
  /** Keys and values of earlier calls: (B, S, 2 NK HS). Only without a backward. */
  readonly cache?: Tensor;
}

type Product = "scores" | "values" | "dscores" | "dquery" | "dkey" | "dvalue";

/** Samples and key heads that one series of dispatches covers. */
interface Window {
  readonly sample0: number;
  readonly samples: number;
  readonly kvHead0: number;
  readonly kvHeads: number;
}

/**
 * Causal attention, grouped keys and values where numKvHeads < numHeads. Queries go block by block, so that a (T, T)
 * matrix never exists; what is masked out is not computed, tile by tile.
 *
 * @param qkv (B*T, (NH + 2 NK) * HS): query heads, key heads, value heads
 * @returns (B*T, NH*HS)
 * @throws RangeError if one sample's tokens do not fit a binding
 */
export function attention(graph: Graph, qkv: Tensor, options: AttentionOptions): Tensor {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS, rate = 0, key, cache } = options;
  const GROUP = NH / NK;
  const W = width(qkv);
  const cacheRows = cache?.shape[1] ?? 0;
  const keys = cache ? cacheRows : columns;
  const pitch = Math.ceil(keys / 4) * 4;
  const out = graph.tensor(qkv.name.replace("qkv", "attention"), [batch * columns, NH * HS]); // (B*T, NH*HS)
  const lse = graph.tensor(`${out.name} lse`, [batch * columns, NH]); // (B*T, NH)
  const windows = cut(graph, options, W, pitch, cacheRows);
  const scratchRows = Math.max(...windows.map((w) => w.samples * w.kvHeads * GROUP)) * BLOCK;
  const shape = { NH, NK, HS };
  const rowLanes = graph.limits.isSoftware ? 8 : 32;
  const drop = key !== undefined && rate > 0 ? dropoutArguments(rate, key) : null;
  const samplesInUse = ({ sample0, samples }: Window, live: Live) => {
    const inUse = Math.min(samples, Math.max((live.batch ?? 0) - sample0, 0));
    if (inUse > 0 && sample0 > 0 && live.columns !== columns) {
      throw new Error(
        `Attention in windows of samples needs rows of ${columns} tokens, found ${live.columns}`,
      );
    }
    return inUse;
  };
  const rowsInUse = (block: number, live: Live) =>
    Math.min(BLOCK, Math.max((live.columns ?? 0) - block * BLOCK, 0));
  const tokens = (tensor: Tensor, { sample0, samples }: Window) =>
    tensor.rows(sample0 * columns, (sample0 + samples) * columns);
  const uniforms = (window: Window, block: number) => ({
    sample0: window.sample0,
    samples: window.samples,
    kv_head0: window.kvHead0,
    kv_heads: window.kvHeads,
    block,
    pitch,
    width: W,
    ...shape,
  });

  /** Keys (part 0) or values (1) as (B, NK, HS, pitch). */
  function turned(part: 0 | 1): Tensor {
    const out = graph.tensor(part === 0 ? "turned keys" : "turned values", [batch, NK * HS * pitch]);
    for (const window of windows.filter(({ kvHead0 }) => kvHead0 === 0)) {
      graph.dispatch(turnSource.kernel({ PART: part, LANES: rowLanes }), {
        tensors: { qkv: tokens(qkv, window), out: out.rows(window.sample0, window.sample0 + window.samples) },
        uniforms: uniforms(window, 0),
        groups: (live) => samplesInUse(window, live) * NK * Math.ceil((live.columns ?? 0) / rowLanes),
      });
    }
    return out;
  }

  function product(
    name: Product,
    window: Window,
    block: number,
    tensors: { left?: Slice; scratch?: Slice; right: Slice; out: Slice },
    accumulate = 0,
  ): void {
    const wide = name === "scores" || name === "dscores";
    const tall = name === "dkey" || name === "dvalue";
    const isTurned = wide && cache === undefined;
    const constants = { PRODUCT: name, TURNED: isTurned, CACHE: cache !== undefined, ACC: accumulate };
    const { limits } = graph;
    const spread = limits.isSoftware && limits.subgroupSize >= 8 && HS % 4 === 0 && cache === undefined;
    const TN = wide || HS > 32 ? 2 : 1;
    const tiling = limits.isSoftware ? { TM: 8, TN, LANES: 8, BANDS: 1 } : { TM: 4, TN, LANES: 8, BANDS: 8 };
    const R = columns >= 32 ? 32 : 8; // rows of a workgroup
    const kernel = spread
      ? lanesSource.kernel({ ...constants, R, LV: true, VB: true, VO: true })
      : productSource.kernel({
        ...constants,
        ...tiling,
        LV: false,
        VB: isTurned || (!wide && HS % 4 === 0),
        VO: wide,
      });
    const [tileRows, tileColumns] = spread ? [R, 32] : [tiling.TM * tiling.BANDS, tiling.LANES * TN * 4];
    const queries = Math.min(BLOCK, columns - block * BLOCK);
    const seen = queries * (block * BLOCK + (queries + 1) / 2); // pairs that are not masked out
    graph.dispatch(kernel, {
      tensors,
      uniforms: { ...uniforms(window, block), cache_rows: cacheRows },
      groups: (live) => {
        const rows = rowsInUse(block, live);
        if (rows === 0) return 0;
        const keysInUse = (live.start ?? 0) + block * BLOCK + rows;
        const across = Math.ceil((wide ? keysInUse : HS) / tileColumns);
        const down = Math.ceil((tall ? keysInUse : rows) / tileRows);
        return samplesInUse(window, live) * window.kvHeads * (tall ? 1 : GROUP) * across * down;
      },
      flops: 2 * HS * seen * window.samples * window.kvHeads * GROUP,
    });
  }

  function softmax(
    window: Window,
    block: number,
    step: "forward" | "backward",
    tensors: Record<string, Slice>,
  ): void {
    graph.dispatch(softmaxSource.kernel({ STEP: step, DROP: drop !== null, LANES: rowLanes }), {
      tensors: { ...tensors, ...drop?.tensors },
      uniforms: { ...uniforms(window, block), scale: 1 / Math.sqrt(HS), ...drop?.uniforms },
      groups: (live) =>
        Math.ceil(samplesInUse(window, live) * window.kvHeads * GROUP * rowsInUse(block, live) / rowLanes),
      flops: 8 * BLOCK * keys * window.samples * window.kvHeads * GROUP,
    });
  }

  const blocks = Array.from({ length: Math.ceil(columns / BLOCK) }, (_, block) => block);
  const scratch = (name: string) => graph.tensor(name, [scratchRows, pitch]); // (pairs * 64, pitch)
  const part = (tensor: Tensor, window: Window) =>
    tensor.rows(0, window.samples * window.kvHeads * GROUP * BLOCK);
  const bySample = (tensor: Tensor, { sample0, samples }: Window) => tensor.rows(sample0, sample0 + samples);

  if (cache !== undefined) append(graph, qkv, cache, NH * HS);
  const turnedKeys = cache === undefined ? turned(0) : null;
  const scores = scratch("scores");
  for (const window of windows) {
    const held = cache ? bySample(cache, window) : tokens(qkv, window);
    for (const block of blocks) {
      product("scores", window, block, {
        left: tokens(qkv, window),
        right: turnedKeys ? bySample(turnedKeys, window) : held,
        out: part(scores, window),
      });
      softmax(window, block, "forward", { scores: part(scores, window), lse: tokens(lse, window) });
      product("values", window, block, {
        scratch: part(scores, window),
        right: held,
        out: tokens(out, window),
      });
    }
  }

  graph.onBackward(out, (dout) => {
    const target = graph.target(qkv);
    if (target === null) return;
    const delta = graph.tensor(`${out.name} delta`, [batch * columns, NH]); // (B*T, NH)
    forRows(graph, batch * columns, { widths: [NH * HS], live: true }, ({ from, to, uniforms, groups }) => {
      graph.dispatch(deltaSource.kernel({ LIVE: true }), {
        tensors: { out: out.rows(from, to), dout: dout.rows(from, to), delta: delta.rows(from, to) },
        uniforms: { ...uniforms, NH, HS },
        groups: groups(NH, 64),
        flops: 2 * (to - from) * NH * HS,
      });
    });
    const keysAgain = turned(0);
    const turnedValues = turned(1);
    const weights = scratch("weights");
    const dweights = scratch("grad weights");
    for (const window of windows) {
      const [p, dp] = [part(weights, window), part(dweights, window)];
      const given = {
        qkv: tokens(qkv, window),
        dout: tokens(dout, window),
        dqkv: tokens(target.tensor, window),
      };
      for (const block of blocks) {
        product("scores", window, block, { left: given.qkv, right: bySample(keysAgain, window), out: p });
        product("dscores", window, block, {
          left: given.dout,
          right: bySample(turnedValues, window),
          out: dp,
        });
        softmax(window, block, "backward", {
          scores: p,
          dscores: dp,
          lse: tokens(lse, window),
          delta: tokens(delta, window),
        });
        const accumulate = target.accumulate;
        product("dquery", window, block, { scratch: dp, right: given.qkv, out: given.dqkv }, accumulate);
        product("dkey", window, block, { scratch: dp, right: given.qkv, out: given.dqkv }, accumulate);
        product("dvalue", window, block, { scratch: p, right: given.dout, out: given.dqkv }, accumulate);
      }
    }
  });
  return out;
}

/** Windows so that qkv, the cache and the scratch each fit a binding: samples first, then key heads. */
function cut(graph: Graph, options: AttentionOptions, W: number, pitch: number, cacheRows: number): Window[] {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS } = options;
  const room = (graph.limits.maxBinding - ALIGNMENT) / 4;
  const perSample = Math.max(columns * W, cacheRows * 2 * NK * HS, NK * HS * pitch);
  if (perSample > room) {
    throw new RangeError(
      `One sample's ${columns} tokens of attention take ${perSample * 4} bytes, more than a binding holds (${
        Math.floor(room) * 4
      })`,
    );
  }
  const perKvHead = (NH / NK) * BLOCK * pitch; // elements of the scratch
  const kvHeads = Math.min(NK, Math.floor(room / perKvHead));
  if (kvHeads < 1) {
    throw new RangeError(
      `The scores of ${BLOCK} queries take ${perKvHead * 4} bytes, more than a binding holds`,
    );
  }
  const samples = kvHeads < NK ? 1 : Math.min(batch, Math.floor(room / Math.max(perSample, perKvHead * NK)));
  const windows: Window[] = [];
  for (let sample0 = 0; sample0 < batch; sample0 += samples) {
    for (let kvHead0 = 0; kvHead0 < NK; kvHead0 += kvHeads) {
      windows.push({
        sample0,
        samples: Math.min(samples, batch - sample0),
        kvHead0,
        kvHeads: Math.min(kvHeads, NK - kvHead0),
      });
    }
  }
  return windows;
}

function dropoutArguments(rate: number, key: DropoutKey) {
  const { scale, ...uniforms } = dropoutUniforms(rate, key);
  return { tensors: { ids: key.samples.whole() }, uniforms: { ...uniforms, drop_scale: scale } };
}

/** Stores the keys and values of this call's tokens behind those of earlier calls. */
function append(graph: Graph, qkv: Tensor, cache: Tensor, offset: number): void {
  const [, cacheRows, kvWidth] = cache.shape;
  graph.dispatch(appendSource.kernel(), {
    tensors: { qkv, cache },
    uniforms: { width: width(qkv), offset, kv_width: kvWidth, cache_rows: cacheRows },
    groups: (live) => Math.ceil((live.rows ?? 0) * kvWidth / 64),
  });
}
