/** The softmax over a piece's rows of scores, and what is added to them. */
import gradientText from "../../shaders/attention_bias_gradient.wgsl" with { type: "text" };
import softmaxText from "../../shaders/attention_softmax.wgsl" with { type: "text" };
import totalText from "../../shaders/attention_bias_total.wgsl" with { type: "text" };
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import {
  type AttentionContext,
  constantsOf,
  type Operand,
  perPair,
  perQuery,
  querySlice,
  rowLanes,
  scratchSlice,
  uniformsOf,
} from "./attentionHeads.ts";
import { kvsInUse, pairsSeen, type Piece, rowsInUse } from "./attentionPlan.ts";
import { sharedFile } from "./attentionProduct.ts";
import type { DistanceBias } from "./distanceBias.ts";
import { type DropoutKey, dropoutUniforms } from "./dropout.ts";
import type { GradientTarget } from "./graph.ts";
import { shader } from "./rowwise.ts";

const softmaxSource = shader("attention_softmax.wgsl", softmaxText, [sharedFile]);
const gradientSource = shader("attention_bias_gradient.wgsl", gradientText, [sharedFile]);
const totalSource = shader("attention_bias_total.wgsl", totalText);

/** What is added to the scores. */
export type AttentionBias =
  /** ALiBi: -slopes[head] * (i - j). */
  | { readonly kind: "alibi"; readonly slopes: Tensor } // (NH)
  | DistanceBias;

export interface SoftmaxOptions {
  /** Of the products. */
  readonly scale: number;
  readonly bias: AttentionBias | null;
  readonly rate: number;
  /** Where the rate is not 0. */
  readonly key?: DropoutKey;
}

interface SoftmaxTensors {
  /** (pairs * rows, pitch) scores; becomes the weights of the values. */
  readonly scores: Tensor;
  /** (B*NH, T) logarithms of the rows' sums: written by the forward, read by the backward. */
  readonly lse: Tensor;
  readonly backward?: {
    /** (pairs * rows, pitch) gradient of the weights; becomes that of the products of queries and keys. */
    readonly dscores: Tensor;
    readonly out: Operand;
    readonly dout: Operand;
  };
}

export function softmax(
  context: AttentionContext,
  piece: Piece,
  { scale, bias, rate, key }: SoftmaxOptions,
  { scores, lse, backward }: SoftmaxTensors,
): void {
  const { graph, shape, spans } = context;
  const LANES = rowLanes(context);
  const kernel = softmaxSource.kernel({
    ...constantsOf(context),
    STEP: backward ? "backward" : "forward",
    DROP: rate > 0,
    BIAS: bias?.kind ?? "none",
    LANES,
    ...(backward ? { VEC: shape.headDim % 4 === 0 } : {}),
  });
  const { scale: drop_scale, ...drop } = key ? dropoutUniforms(rate, key) : { scale: 1 };
  graph.dispatch(kernel, {
    tensors: {
      spans,
      scores: scratchSlice(scores, piece),
      lse: perQuery(shape, lse, piece, 1),
      ...(backward
        ? {
          dscores: scratchSlice(backward.dscores, piece),
          out: querySlice(context, backward.out.tensor, piece),
          dout: querySlice(context, backward.dout.tensor, piece),
        }
        : {}),
      ...(key ? { ids: key.samples } : {}),
      ...(bias?.kind === "alibi" ? { slopes: bias.slopes } : {}),
      ...(bias?.kind === "table" ? { distances: bias.distances } : {}),
    },
    uniforms: {
      ...uniformsOf(context, piece),
      scale,
      ...(backward ? { out_width: backward.out.width } : {}),
      ...(key ? { ...drop, drop_scale } : {}),
      ...(bias?.kind === "table" ? { reach: bias.reach } : {}),
    },
    groups: (live) =>
      Math.ceil(kvsInUse(shape, piece, live) * piece.members * rowsInUse(piece, live) / LANES),
    flops: 8 * pairsSeen(shape, piece),
  });
}

/** Where the gradient of a table of distances is summed: for each query of a piece, then for each head of each sample. */
export interface BiasSums {
  /** (pairs * rows, buckets) */
  readonly rows: Tensor;
  /** (B*NH, buckets) */
  readonly heads: Tensor;
}

/** Adds a piece's share, from its dscores, to the sums of its heads. */
export function addBiasGradient(
  context: AttentionContext,
  piece: Piece,
  { table, buckets, reach }: DistanceBias,
  scale: number,
  dscores: Tensor,
  sums: BiasSums,
): void {
  const { graph, shape, spans } = context;
  const num_buckets = table.shape[0];
  const LANES = rowLanes(context);
  const constants = { ...constantsOf(context), LANES };
  const rows = scratchSlice(sums.rows, piece);
  graph.dispatch(gradientSource.kernel({ ...constants, STEP: "rows", FIRST: true }), {
    tensors: { spans, buckets, dscores: scratchSlice(dscores, piece), out: rows },
    uniforms: { ...uniformsOf(context, piece), num_buckets, reach, scale },
    groups: (live) =>
      Math.ceil(kvsInUse(shape, piece, live) * piece.members * rowsInUse(piece, live) / LANES),
  });
  graph.dispatch(gradientSource.kernel({ ...constants, STEP: "sums", FIRST: piece.first_query === 0 }), {
    tensors: {
      spans,
      sums: rows,
      out: perPair(shape, sums.heads, piece),
    },
    uniforms: { ...uniformsOf(context, piece), num_buckets },
    groups: (live) =>
      rowsInUse(piece, live) === 0
        ? 0
        : Math.ceil(kvsInUse(shape, piece, live) * piece.members * num_buckets / LANES),
  });
}

/** Adds the sums of all samples to the gradient of the table. */
export function addBiasTotal(
  { graph, shape: { batch, numHeads: NH } }: AttentionContext,
  { tensor, accumulate }: GradientTarget, // (buckets, NH)
  sums: Tensor, // (B*NH, buckets)
): void {
  const num_buckets = tensor.shape[0];
  for (const { from, to } of rowWindows(batch, graph.limits, [NH * num_buckets])) {
    graph.dispatch(totalSource.kernel({ ACC: from > 0 ? 1 : accumulate }), {
      tensors: { sums: sums.rows(from * NH, to * NH), out: tensor },
      uniforms: { sample0: from, samples: to - from, num_buckets, NH },
      groups: Math.ceil(num_buckets * NH / 64),
    });
  }
}
