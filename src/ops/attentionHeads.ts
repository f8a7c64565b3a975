/** Heads as attention's kernels take them: side by side in rows of tokens, behind one another, or turned. */
import appendText from "../../shaders/cache_append.wgsl" with { type: "text" };
import headsText from "../../shaders/attention_heads.wgsl" with { type: "text" };
import turnText from "../../shaders/attention_turn.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import { rowWindows, type Slice, type Tensor } from "../gpu/tensor.ts";
import {
  type AttentionPlan,
  type AttentionShape,
  headsSlice,
  keyRowsInUse,
  type KeyWindow,
  kvsInUse,
  type Piece,
} from "./attentionPlan.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const headsSource = shader("attention_heads.wgsl", headsText);
const turnSource = shader("attention_turn.wgsl", turnText);
const appendSource = shader("cache_append.wgsl", appendText);

/** Heads side by side in the rows of a tensor, from column `offset` on. */
export interface Heads {
  readonly tensor: Tensor;
  readonly offset: number;
}

/** An attention that is being recorded. */
export interface AttentionContext {
  readonly graph: Graph;
  readonly shape: AttentionShape;
  readonly plan: AttentionPlan;
  /** (B*T, 2) */
  readonly spans: Tensor;
}

/** Heads as kernels find them: elements of a row, and where in it they begin. */
export interface Operand {
  readonly tensor: Tensor;
  readonly width: number;
  readonly offset: number;
}

/** Whose rows: those of the queries, or those of the keys. */
export type Side = "queries" | "keys";

/** Constants of kernels that include attention.wgsl. */
export function constantsOf({ shape, plan }: AttentionContext) {
  return { KEYS: shape.keys.of, CAUSAL: shape.causal, ROWS: plan.inRows };
}

/** Their uniforms. */
export function uniformsOf({ shape, plan }: AttentionContext, piece: Piece) {
  const { columns: T, keys: { rows: S }, window, numHeads: NH, numKvHeads: NK, headDim: HS } = shape;
  return { ...piece, pitch: plan.pitch, T, S, window: window ?? 0, NH, NK, HS };
}

/** The rows of the scratch that a piece uses. */
export function scratchSlice(tensor: Tensor, { kvs, members, rows }: Piece): Slice {
  return tensor.rows(0, kvs * members * rows);
}

/** Threads of a workgroup of kernels in which a thread is a row. */
export function rowLanes({ graph }: AttentionContext): number {
  return graph.limits.isSoftware ? 8 : 32;
}

function sizes({ numHeads, numKvHeads, columns, keys }: AttentionShape, side: Side) {
  return side === "queries"
    ? { of: "own" as const, H: numHeads, T: columns }
    : { of: keys.of, H: numKvHeads, T: keys.rows };
}

/** A tensor for heads behind one another: (B, H, T, HS). */
export function headsTensor({ graph, shape }: AttentionContext, side: Side, name: string): Operand {
  const { H, T } = sizes(shape, side);
  const tensor = graph.tensor(name, [shape.batch * H * T, shape.headDim]);
  return { tensor, width: shape.headDim, offset: 0 };
}

/** Heads as the plan wants them: as they are, or copied. */
export function operand(context: AttentionContext, side: Side, heads: Heads): Operand {
  if (context.plan.inRows) return { ...heads, width: width(heads.tensor) };
  const copy = headsTensor(context, side, `${heads.tensor.name} heads`);
  copyHeads(context, side, "heads", heads, copy);
  return copy;
}

/** Copies heads out of rows of tokens, or into them, in windows of both. */
export function copyHeads(
  { graph, shape }: AttentionContext,
  side: Side,
  to: "heads" | "rows",
  rows: Heads,
  heads: Operand,
): void {
  const { batch, headDim: HS } = shape;
  const { of, H, T } = sizes(shape, side);
  const kernel = headsSource.kernel({ TO: to, KEYS: of });
  const { limits } = graph;
  for (const window of rowWindows(batch * T, limits, [width(rows.tensor)])) {
    for (const headWindow of rowWindows(batch * H * T, limits, [HS])) {
      const samples = { from: Math.floor(headWindow.from / (H * T)), to: Math.ceil(headWindow.to / (H * T)) };
      if (window.from >= samples.to * T) continue;
      graph.dispatch(kernel, {
        tensors: {
          rows: rows.tensor.rows(window.from, window.to),
          heads: heads.tensor.rows(headWindow.from, headWindow.to),
        },
        uniforms: {
          row0: window.from,
          rows: window.to - window.from,
          width: width(rows.tensor),
          offset: rows.offset,
          head_row0: headWindow.from,
          head_rows: headWindow.to - headWindow.from,
          ...{ T, H, HS },
        },
        groups: (live) => {
          const perSample = side === "queries" ? live.columns ?? 0 : keyRowsInUse(shape, live);
          const end = Math.min(window.to, perSample * Math.min(samples.to, live.batch ?? 0));
          if (end <= window.from || window.to <= samples.from * perSample) return 0;
          return Math.ceil((end - window.from) * H * HS / 64);
        },
      });
    }
  }
}

/** What a piece's dispatches bind of its queries. */
export function querySlice({ shape, plan }: AttentionContext, tensor: Tensor, piece: Piece): Slice {
  return plan.inRows ? tensor.whole() : perQuery(shape, tensor, piece, shape.headDim);
}

/** A piece's queries in a tensor (B, NH, T, dim). */
export function perQuery(shape: AttentionShape, tensor: Tensor, piece: Piece, dim: number): Slice {
  const { first_query: row0, rows } = piece;
  return headsSlice(tensor, { ...pairsOf(shape, piece), count: shape.columns, row0, rows, dim });
}

/** A piece's heads in a tensor (B*NH, ..). */
export function perPair(shape: AttentionShape, tensor: Tensor, piece: Piece): Slice {
  const { first, heads } = pairsOf(shape, piece);
  return tensor.rows(first, first + heads);
}

/** From a piece's first query head to its last one, of all samples' query heads. */
function pairsOf({ numHeads, numKvHeads }: AttentionShape, { first_kv, kvs, first_member, members }: Piece) {
  const GROUP = numHeads / numKvHeads;
  return { first: first_kv * GROUP + first_member, heads: (kvs - 1) * GROUP + members };
}

/** What a piece's dispatches bind of some keys. */
export function keySlice(
  { shape, plan }: AttentionContext,
  tensor: Tensor,
  { first_kv, kvs }: Piece,
  { key0, keys }: KeyWindow,
): Slice {
  if (plan.inRows) return tensor.whole();
  const { headDim: dim, keys: { rows: count } } = shape;
  return headsSlice(tensor, { first: first_kv, heads: kvs, count, row0: key0, rows: keys, dim });
}

/** Keys or values turned: for each window of keys (B, NK, HS, pitch). */
export interface Turned {
  readonly tensors: readonly Tensor[];
  readonly pitch: number;
}

export function turned(context: AttentionContext, { tensor, width, offset }: Operand): Turned {
  const { graph, shape, plan } = context;
  const { batch, numKvHeads: NK, headDim: HS, keys: { of, rows: S } } = shape;
  const pitch = Math.ceil(plan.keyWindows[0].keys / 4) * 4;
  const LANES = rowLanes(context);
  const VEC = [HS, width, offset].every((size) => size % 4 === 0);
  const kernel = turnSource.kernel({ KEYS: of, ROWS: plan.inRows, LANES, VEC });
  const tensors = plan.keyWindows.map((window) => {
    const out = graph.tensor(`${tensor.name} turned`, [batch * NK, HS * pitch]);
    for (const piece of plan.pieces) {
      const { first_kv, kvs, first_member, first_query } = piece;
      if (first_member > 0 || first_query > 0) continue; // the first of the pieces of the same heads
      graph.dispatch(kernel, {
        tensors: { rows: keySlice(context, tensor, piece, window), out: out.rows(first_kv, first_kv + kvs) },
        uniforms: { first_kv, kvs, ...window, pitch, S, NK, HS, width, offset },
        groups: (live: Live) => {
          const keys = Math.min(window.keys, Math.max(keyRowsInUse(shape, live) - window.key0, 0));
          return kvsInUse(shape, piece, live) * Math.ceil(keys / (VEC ? 4 * LANES : LANES));
        },
      });
    }
    return out;
  });
  return { tensors, pitch };
}

/**
 * Stores the keys and values of this call's tokens behind those of earlier calls.
 *
 * @param keysAndValues (B*T, ..) NK heads of keys, then of values
 * @param cache (B*S, 2 NK HS)
 * @param rows S
 */
export function appendToCache(graph: Graph, { tensor, offset }: Heads, cache: Tensor, rows: number): void {
  const kvWidth = width(cache);
  const windows = rowWindows(cache.shape[0], graph.limits, [kvWidth]);
  forRows(
    graph,
    tensor.shape[0],
    { widths: [width(tensor)], live: true },
    ({ from, to, uniforms, groups }) => {
      for (const window of windows) {
        graph.dispatch(appendSource.kernel({ LIVE: true }), {
          tensors: { qkv: tensor.rows(from, to), cache: cache.rows(window.from, window.to) },
          uniforms: {
            ...uniforms,
            ...{ width: width(tensor), offset, kv_width: kvWidth, S: rows },
            ...{ cache_row0: window.from, cache_rows: window.to - window.from },
          },
          groups: groups(kvWidth, 64),
        });
      }
    },
  );
}
