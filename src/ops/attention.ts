import appendText from "../../shaders/cache_append.wgsl" with { type: "text" };
import deltaText from "../../shaders/attention_delta.wgsl" with { type: "text" };
import gradientText from "../../shaders/attention_bias_gradient.wgsl" with { type: "text" };
import lanesText from "../../shaders/attention_product_lanes.wgsl" with { type: "text" };
import operandsText from "../../shaders/attention_operands.wgsl" with { type: "text" };
import productText from "../../shaders/attention_product.wgsl" with { type: "text" };
import sharedText from "../../shaders/attention.wgsl" with { type: "text" };
import softmaxText from "../../shaders/attention_softmax.wgsl" with { type: "text" };
import turnText from "../../shaders/attention_turn.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import type { Slice, Tensor } from "../gpu/tensor.ts";
import { type AttentionWindow, BLOCK, cut, firstKey, keyRowsInUse } from "./attentionWindows.ts";
import { sumColumns } from "./columns.ts";
import type { DistanceBias } from "./distanceBias.ts";
import { type DropoutKey, dropoutUniforms } from "./dropout.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const shared = [
  { name: "attention.wgsl", text: sharedText },
  { name: "attention_operands.wgsl", text: operandsText },
];
const productSource = shader("attention_product.wgsl", productText, shared);
const lanesSource = shader("attention_product_lanes.wgsl", lanesText, shared);
const softmaxSource = shader("attention_softmax.wgsl", softmaxText, shared);
const gradientSource = shader("attention_bias_gradient.wgsl", gradientText, shared);
const turnSource = shader("attention_turn.wgsl", turnText);
const deltaSource = shader("attention_delta.wgsl", deltaText);
const appendSource = shader("cache_append.wgsl", appendText);

/** Heads side by side in the rows of a tensor, from column `offset` on. */
export interface Heads {
  readonly tensor: Tensor;
  readonly offset: number;
}

/** What is added to the scores. */
export type AttentionBias =
  /** ALiBi: -slopes[head] * (i - j). */
  | { readonly kind: "alibi"; readonly slopes: Tensor } // (NH)
  | DistanceBias;

export interface AttentionOptions {
  readonly batch: number; // B
  readonly columns: number; // T
  readonly numHeads: number; // NH
  readonly numKvHeads: number; // NK
  readonly headDim: number; // HS
  /** Whose keys: the tokens' own, the encoder's, or those of a cache; and how many there are to a sample, S. */
  readonly keys: { readonly of: "own" | "source" | "cache"; readonly rows: number };
  /** (B*T, 2) the keys that each query sees, from and to (exclusive), neither falling along a row; at least one key. */
  readonly spans: Tensor;
  /** No query sees a key behind itself: half of the tiles need not be looked at. */
  readonly causal: boolean;
  /** A query sees only the last `window` of its keys, itself included. null: all. */
  readonly window?: number | null;
  /** Of the products; 1/sqrt(HS) where it is left out. */
  readonly scale?: number;
  readonly bias?: AttentionBias | null;
  /** Dropout of the attention weights; needs a key where it is not 0. */
  readonly rate?: number;
  readonly key?: DropoutKey;
}

type Product = "scores" | "values" | "dscores" | "dquery" | "dkey" | "dvalue";

/** Rows of heads, as a kernel finds them in the slice that is bound. */
interface Operand {
  readonly slice: Slice;
  readonly width: number;
  readonly offset: number;
}

/**
 * Attention; grouped keys and values where numKvHeads < numHeads. Queries go block by block, so that a (T, S) matrix
 * never exists; what no query of a tile sees is not computed. Without a backward where the keys are a cache's.
 *
 * @param query (B*T, ..) NH heads of HS
 * @param key (B*S, ..) NK heads of HS
 * @param value (B*S, ..) NK heads of HS
 * @returns (B*T, NH*HS)
 * @throws RangeError if one sample's rows do not fit a binding
 */
export function attention(
  graph: Graph,
  query: Heads,
  key: Heads,
  value: Heads,
  options: AttentionOptions,
): Tensor {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS, spans, causal, bias = null } = options;
  const { of: KEYS, rows: S } = options.keys;
  const { window: band = null, scale = 1 / Math.sqrt(HS) } = options;
  const GROUP = NH / NK;
  const out = graph.tensor(query.tensor.name.replace(/qkv|q$/, "attention"), [batch * columns, NH * HS]); // (B*T, NH*HS)
  const lse = graph.tensor(`${out.name} lse`, [batch * columns, NH]); // (B*T, NH)
  const blocks = Array.from({ length: Math.ceil(columns / BLOCK) }, (_, block) => block);
  const turnedPitch = Math.ceil(S / 4) * 4;
  const { windows, pitch } = cut(graph.limits, options, [query, key, value].map(({ tensor }) => tensor));
  const scratchRows = Math.max(...windows.map((w) => w.samples * w.kv_heads * GROUP)) * BLOCK;
  const rowLanes = graph.limits.isSoftware ? 8 : 32;
  const drop = options.key !== undefined && options.rate ? dropoutArguments(options.rate, options.key) : null;
  const constants = { KEYS, CAUSAL: causal };
  // Otherwise the queries' gradients are the first that are written to the same tensor.
  const isSeparate = key.tensor !== query.tensor || value.tensor !== query.tensor;

  const samplesInUse = ({ sample0, samples }: AttentionWindow, live: Live) => {
    const inUse = Math.min(samples, Math.max((live.batch ?? 0) - sample0, 0));
    if (inUse > 0 && sample0 > 0 && (live.columns !== columns || keyRowsInUse(options, live) !== S)) {
      throw new Error(
        `Attention in windows of samples needs rows of ${columns} tokens, found ${live.columns}`,
      );
    }
    return inUse;
  };
  const rowsInUse = (block: number, live: Live) =>
    Math.min(BLOCK, Math.max((live.columns ?? 0) - block * BLOCK, 0));
  const keysInUse = (block: number, live: Live) => {
    const end = causal
      ? (live.start ?? 0) + block * BLOCK + rowsInUse(block, live)
      : keyRowsInUse(options, live);
    return end - firstKey(options, block);
  };
  const queryRows = (tensor: Tensor, { sample0, samples }: AttentionWindow) =>
    tensor.rows(sample0 * columns, (sample0 + samples) * columns);
  const keyRows = (tensor: Tensor, { sample0, samples }: AttentionWindow) => {
    const perSample = tensor.shape[0] / batch;
    return tensor.rows(sample0 * perSample, (sample0 + samples) * perSample);
  };
  const uniforms = (window: AttentionWindow, block: number) => ({
    ...window,
    block,
    first_key: firstKey(options, block),
    pitch,
    cache_rows: KEYS === "cache" ? S : 0,
    window: band ?? 0,
    NH,
    NK,
    HS,
  });

  /** Keys or values as (B, NK, HS, pitch). */
  function turned(name: string, { tensor, offset }: Heads): Tensor {
    const out = graph.tensor(`turned ${name}`, [batch, NK * HS * turnedPitch]);
    for (const window of windows.filter(({ kv_head0 }) => kv_head0 === 0)) {
      const { sample0, samples } = window;
      graph.dispatch(turnSource.kernel({ KEYS, LANES: rowLanes }), {
        tensors: { rows: keyRows(tensor, window), out: out.rows(sample0, sample0 + samples) },
        uniforms: { sample0, samples, pitch: turnedPitch, NK, HS, width: width(tensor), offset },
        groups: (live) => samplesInUse(window, live) * NK * Math.ceil(keyRowsInUse(options, live) / rowLanes),
      });
    }
    return out;
  }

  function product(
    name: Product,
    window: AttentionWindow,
    block: number,
    operands: { left?: Operand; scratch?: Slice; right: Operand; out: Operand },
    accumulate = 0,
  ): void {
    const wide = name === "scores" || name === "dscores";
    const tall = name === "dkey" || name === "dvalue";
    const isTurned = wide && KEYS !== "cache";
    const { limits } = graph;
    const spread = limits.isSoftware && limits.subgroupSize >= 8 && HS % 4 === 0 && KEYS !== "cache";
    const TN = wide || HS > 32 ? 2 : 1;
    const tiling = limits.isSoftware ? { TM: 8, TN, LANES: 8, BANDS: 1 } : { TM: 4, TN, LANES: 8, BANDS: 8 };
    const R = columns >= 32 ? 32 : 8; // rows of a workgroup
    const FIRST = tall && block === 0 && accumulate === 0 && isSeparate;
    const kind = { ...constants, PRODUCT: name, TURNED: isTurned, ACC: accumulate, FIRST };
    const kernel = spread
      ? lanesSource.kernel({ ...kind, R, LV: true, VB: true, VO: true })
      : productSource.kernel({
        ...kind,
        ...tiling,
        LV: false,
        VB: isTurned || (!wide && HS % 4 === 0 && operands.right.width % 4 === 0),
        VO: wide,
      });
    const [tileRows, tileColumns] = spread ? [R, 32] : [tiling.TM * tiling.BANDS, tiling.LANES * TN * 4];
    const { left, scratch, right, out } = operands;
    graph.dispatch(kernel, {
      tensors: {
        spans: queryRows(spans, window),
        ...(left ? { left: left.slice } : {}),
        ...(scratch ? { scratch } : {}),
        right: right.slice,
        out: out.slice,
      },
      uniforms: {
        ...uniforms(window, block),
        left_width: left?.width ?? 0,
        left_offset: left?.offset ?? 0,
        right_width: right.width,
        right_offset: right.offset,
        right_pitch: turnedPitch,
        out_width: out.width,
        out_offset: out.offset,
        // The first key whose gradient no earlier block has written.
        fresh_from: causal ? block * BLOCK - firstKey(options, block) : block === 0 ? 0 : 0xffffffff,
      },
      groups: (live) => {
        const rows = rowsInUse(block, live);
        if (rows === 0) return 0;
        const keys = keysInUse(block, live);
        const across = Math.ceil((wide ? keys : HS) / tileColumns);
        const down = Math.ceil((tall ? keys : rows) / tileRows);
        return samplesInUse(window, live) * window.kv_heads * (tall ? 1 : GROUP) * across * down;
      },
      flops: 2 * HS * pairsSeen(options, block) * window.samples * window.kv_heads * GROUP,
    });
  }

  function softmax(
    window: AttentionWindow,
    block: number,
    step: "forward" | "backward",
    tensors: Record<string, Slice>,
  ): void {
    const kernel = softmaxSource.kernel({
      ...constants,
      STEP: step,
      DROP: drop !== null,
      BIAS: bias?.kind ?? "none",
      LANES: rowLanes,
    });
    graph.dispatch(kernel, {
      tensors: {
        spans: queryRows(spans, window),
        ...tensors,
        ...drop?.tensors,
        ...(bias?.kind === "alibi" ? { slopes: bias.slopes } : {}),
        ...(bias?.kind === "table" ? { distances: bias.distances } : {}),
      },
      uniforms: {
        ...uniforms(window, block),
        scale,
        ...drop?.uniforms,
        ...(bias?.kind === "table" ? { reach: bias.reach } : {}),
      },
      groups: (live) =>
        Math.ceil(samplesInUse(window, live) * window.kv_heads * GROUP * rowsInUse(block, live) / rowLanes),
      flops: 8 * pairsSeen(options, block) * window.samples * window.kv_heads * GROUP,
    });
  }

  const scratch = (name: string) => graph.tensor(name, [scratchRows, pitch]); // (pairs * 64, pitch)
  const part = (tensor: Tensor, window: AttentionWindow) =>
    tensor.rows(0, window.samples * window.kv_heads * GROUP * BLOCK);
  const inScratch = (slice: Slice): Operand => ({ slice, width: pitch, offset: 0 });
  const asQueries = ({ tensor, offset }: Heads, window: AttentionWindow): Operand => {
    return { slice: queryRows(tensor, window), width: width(tensor), offset };
  };
  const asKeys = ({ tensor, offset }: Heads, window: AttentionWindow): Operand => {
    return { slice: keyRows(tensor, window), width: width(tensor), offset };
  };
  const outHeads = { tensor: out, offset: 0 };

  const turnedKeys = KEYS === "cache" ? null : turned("keys", key);
  const scores = scratch("scores");
  for (const window of windows) {
    const scoresHere = part(scores, window);
    for (const block of blocks) {
      product("scores", window, block, {
        left: asQueries(query, window),
        right: asKeys(turnedKeys ? { tensor: turnedKeys, offset: 0 } : key, window),
        out: inScratch(scoresHere),
      });
      softmax(window, block, "forward", { scores: scoresHere, lse: queryRows(lse, window) });
      product("values", window, block, {
        scratch: scoresHere,
        right: asKeys(value, window),
        out: asQueries(outHeads, window),
      });
    }
  }

  graph.onBackward(out, (dout) => {
    const targets = new Map<Tensor, GradientTarget | null>();
    for (const { tensor } of [query, key, value]) {
      if (!targets.has(tensor)) targets.set(tensor, graph.target(tensor));
    }
    const gradientOf = ({ tensor, offset }: Heads) => {
      const target = targets.get(tensor) ?? null;
      return target && { heads: { tensor: target.tensor, offset }, accumulate: target.accumulate };
    };
    const [dquery, dkey, dvalue] = [gradientOf(query), gradientOf(key), gradientOf(value)];
    const biasGradient = bias?.kind === "table" ? graph.target(bias.table) : null;
    if (!dquery && !dkey && !dvalue && !biasGradient) return;

    const delta = graph.tensor(`${out.name} delta`, [batch * columns, NH]); // (B*T, NH)
    forRows(graph, batch * columns, { widths: [NH * HS], live: true }, ({ from, to, uniforms, groups }) => {
      graph.dispatch(deltaSource.kernel({ LIVE: true }), {
        tensors: { out: out.rows(from, to), dout: dout.rows(from, to), delta: delta.rows(from, to) },
        uniforms: { ...uniforms, NH, HS },
        groups: groups(NH, 64),
        flops: 2 * (to - from) * NH * HS,
      });
    });
    const keysAgain = { tensor: turned("keys", key), offset: 0 };
    const turnedValues = { tensor: turned("values", value), offset: 0 };
    const weights = scratch("weights");
    const dweights = scratch("grad weights");
    const numBuckets = bias?.kind === "table" ? bias.table.shape[0] : 0;
    const biasRows = biasGradient &&
      graph.tensor(`${out.name} grad bias`, [batch * columns, numBuckets * NH]);
    for (const window of windows) {
      const [p, dp] = [part(weights, window), part(dweights, window)];
      const doutHere = asQueries({ tensor: dout, offset: 0 }, window);
      for (const block of blocks) {
        product("scores", window, block, {
          left: asQueries(query, window),
          right: asKeys(keysAgain, window),
          out: inScratch(p),
        });
        product("dscores", window, block, {
          left: doutHere,
          right: asKeys(turnedValues, window),
          out: inScratch(dp),
        });
        softmax(window, block, "backward", {
          scores: p,
          dscores: dp,
          lse: queryRows(lse, window),
          delta: queryRows(delta, window),
        });
        if (bias?.kind === "table" && biasRows) {
          graph.dispatch(gradientSource.kernel({ ...constants, LANES: rowLanes }), {
            tensors: {
              spans: queryRows(spans, window),
              buckets: bias.buckets,
              dscores: dp,
              out: queryRows(biasRows, window),
            },
            uniforms: { ...uniforms(window, block), reach: bias.reach, num_buckets: numBuckets, scale },
            groups: (live) =>
              Math.ceil(
                samplesInUse(window, live) * window.kv_heads * GROUP * rowsInUse(block, live) / rowLanes,
              ),
          });
        }
        if (dquery) {
          const right = asKeys(key, window);
          product(
            "dquery",
            window,
            block,
            { scratch: dp, right, out: asQueries(dquery.heads, window) },
            dquery.accumulate,
          );
        }
        if (dkey) {
          const right = asQueries(query, window);
          product(
            "dkey",
            window,
            block,
            { scratch: dp, right, out: asKeys(dkey.heads, window) },
            dkey.accumulate,
          );
        }
        if (dvalue) {
          product(
            "dvalue",
            window,
            block,
            { scratch: p, right: doutHere, out: asKeys(dvalue.heads, window) },
            dvalue.accumulate,
          );
        }
      }
    }
    if (biasRows) sumColumns(graph, biasRows, biasGradient);
  });
  return out;
}

/** Pairs of a query of a block and a key that it may see, for reports. */
function pairsSeen(options: AttentionOptions, block: number): number {
  const { columns, keys, causal, window } = options;
  const from = block * BLOCK;
  const queries = Math.min(BLOCK, columns - from);
  if (!causal) return queries * keys.rows;
  let pairs = 0;
  for (let i = from; i < from + queries; i++) pairs += Math.min(i + 1, window ?? Infinity);
  return pairs;
}

function dropoutArguments(rate: number, key: DropoutKey) {
  const { scale, ...uniforms } = dropoutUniforms(rate, key);
  return { tensors: { ids: key.samples.whole() }, uniforms: { ...uniforms, drop_scale: scale } };
}

/**
 * Stores the keys and values of this call's tokens, which lie side by side, behind those of earlier calls.
 *
 * @param cache (B*S, 2 NK HS)
 * @param cacheRows S
 */
export function appendToCache(graph: Graph, keysAndValues: Heads, cache: Tensor, cacheRows: number): void {
  const kvWidth = width(cache);
  const { tensor, offset } = keysAndValues;
  graph.dispatch(appendSource.kernel(), {
    tensors: { qkv: tensor, cache },
    uniforms: { width: width(tensor), offset, kv_width: kvWidth, cache_rows: cacheRows },
    groups: (live) => Math.ceil((live.rows ?? 0) * kvWidth / 64),
  });
}
