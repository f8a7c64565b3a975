/** The matrix products of attention. */
import lanesText from "../../shaders/attention_product_lanes.wgsl" with { type: "text" };
import operandsText from "../../shaders/attention_operands.wgsl" with { type: "text" };
import productText from "../../shaders/attention_product.wgsl" with { type: "text" };
import sharedText from "../../shaders/attention.wgsl" with { type: "text" };
import type { Slice, Tensor } from "../gpu/tensor.ts";
import {
  type AttentionContext,
  constantsOf,
  keySlice,
  type Operand,
  querySlice,
  scratchSlice,
  type Turned,
  uniformsOf,
} from "./attentionHeads.ts";
import { keysInUse, keyWindowsOf, kvsInUse, pairsSeen, type Piece, rowsInUse } from "./attentionPlan.ts";
import { shader } from "./rowwise.ts";

export const sharedFile = { name: "attention.wgsl", text: sharedText };
const includes = [sharedFile, { name: "attention_operands.wgsl", text: operandsText }];
const productSource = shader("attention_product.wgsl", productText, includes);
const lanesSource = shader("attention_product_lanes.wgsl", lanesText, includes);

/** See attention_operands.wgsl. */
export type Product = "scores" | "values" | "dscores" | "dquery" | "dkey" | "dvalue";

export interface ProductOperands {
  /** (pairs * rows, pitch) the result of scores and dscores, the left operand of the others. */
  readonly scratch: Tensor;
  readonly queries: Operand;
  readonly keys: Operand | Turned;
  /** 1: add to what the result holds. */
  readonly accumulate?: number;
  /** Something else writes to the tensor of the result first. */
  readonly isShared?: boolean;
}

/** What a kernel binds of an operand. */
interface Bound {
  readonly slice: Slice;
  readonly width: number;
  readonly offset: number;
}

/** Records a product for a piece: a dispatch for each window of keys. */
export function product(
  context: AttentionContext,
  name: Product,
  piece: Piece,
  { scratch, queries, keys, accumulate = 0, isShared = false }: ProductOperands,
): void {
  const { shape, plan } = context;
  const { headDim: HS, causal } = shape;
  const wide = name === "scores" || name === "dscores";
  const tall = name === "dkey" || name === "dvalue";
  const isFirstPiece = piece.first_query === 0 && piece.first_member === 0;
  const windows = keyWindowsOf(shape, plan, piece);
  const rowOperand = { ...queries, slice: querySlice(context, queries.tensor, piece) };
  const inScratch = { slice: scratchSlice(scratch, piece), width: plan.pitch, offset: 0 };

  for (const [i, window] of windows.entries()) {
    const { key0, keys: numKeys } = window;
    const keyOperand: Bound = "pitch" in keys
      ? {
        slice: keys.tensors[window.index].rows(piece.first_kv, piece.first_kv + piece.kvs),
        width: keys.pitch,
        offset: key0 - window.inWindow.key0,
      }
      : { ...keys, slice: keySlice(context, keys.tensor, piece, window) };
    const right = tall ? rowOperand : keyOperand;
    const out = wide ? inScratch : tall ? keyOperand : rowOperand;
    const { kernel, tileRows, tileColumns } = kernelOf(context, {
      PRODUCT: name,
      TURNED: "pitch" in keys,
      ACC: !wide && !tall && i > 0 ? 1 : accumulate,
      FIRST: tall && isFirstPiece && accumulate === 0 && !isShared,
    });
    context.graph.dispatch(kernel, {
      tensors: {
        spans: context.spans,
        ...(wide ? { left: rowOperand.slice } : { scratch: inScratch.slice }),
        right: right.slice,
        out: out.slice,
      },
      uniforms: {
        ...uniformsOf(context, piece),
        ...{ key0, keys: numKeys },
        ...{ left_width: wide ? rowOperand.width : 0, left_offset: wide ? rowOperand.offset : 0 },
        ...{ right_width: right.width, right_offset: right.offset },
        ...{ out_width: out.width, out_offset: out.offset },
        fresh_from: Math.max(freshFrom(causal, piece) - key0, 0),
      },
      groups: (live) => {
        const rows = rowsInUse(piece, live);
        const keys = rows > 0 ? keysInUse(shape, piece, window, live) : 0;
        if (keys === 0) return 0;
        const across = Math.ceil((wide ? keys : HS) / tileColumns);
        const down = Math.ceil((tall ? keys : rows) / tileRows);
        return kvsInUse(shape, piece, live) * (tall ? 1 : piece.members) * across * down;
      },
      flops: 2 * HS * pairsSeen(shape, piece) / windows.length,
    });
  }
}

/** The kernel for a product, and the part of the result that one workgroup computes. */
function kernelOf(
  context: AttentionContext,
  product: { PRODUCT: Product; TURNED: boolean; ACC: number; FIRST: boolean },
) {
  const { graph: { limits }, shape: { columns, headDim: HS, keys } } = context;
  const constants = { ...constantsOf(context), ...product };
  const wide = product.PRODUCT === "scores" || product.PRODUCT === "dscores";
  const inGroups = HS % 4 === 0;
  if (limits.isSoftware && limits.subgroupSize >= 8 && inGroups && keys.of !== "cache") {
    const R = columns >= 32 ? 32 : 8;
    const kernel = lanesSource.kernel({ ...constants, R, LV: true, VB: true, VO: true });
    return { kernel, tileRows: R, tileColumns: 32 };
  }
  const TN = wide || HS > 32 ? 2 : 1;
  const tiling = limits.isSoftware ? { TM: 8, TN, LANES: 8, BANDS: 1 } : { TM: 4, TN, LANES: 8, BANDS: 8 };
  const layout = { LV: false, VB: wide ? product.TURNED : inGroups, VO: wide };
  return {
    kernel: productSource.kernel({ ...constants, ...tiling, ...layout }),
    tileRows: tiling.TM * tiling.BANDS,
    tileColumns: tiling.LANES * TN * 4,
  };
}

/** The first key whose gradient no earlier piece has written. */
function freshFrom(causal: boolean, { first_query, first_member }: Piece): number {
  if (first_member > 0) return NONE;
  return causal ? first_query : first_query === 0 ? 0 : NONE;
}

const NONE = 0xffffffff;
