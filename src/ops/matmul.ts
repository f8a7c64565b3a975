import matmulText from "../../shaders/matmul.wgsl" with { type: "text" };
import lanesText from "../../shaders/matmul_lanes.wgsl" with { type: "text" };
import transposeText from "../../shaders/transpose.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { ALIGNMENT, type Slice, type Tensor } from "../gpu/tensor.ts";
import { shader } from "./rowwise.ts";

const registers = shader("matmul.wgsl", matmulText);
const lanes = shader("matmul_lanes.wgsl", lanesText);
const transposing = shader("transpose.wgsl", transposeText);

/** A matrix in memory: rows of `stride` elements, from `at` on in the tensor. */
export interface Matrix {
  readonly tensor: Tensor;
  readonly rows: number;
  readonly columns: number;
  readonly stride: number;
  /** First element. */
  readonly at: number;
}

/** A whole tensor as a matrix: its first dimension and everything behind it. */
export function matrix(tensor: Tensor): Matrix {
  const rows = tensor.shape[0];
  const columns = tensor.size / rows;
  return { tensor, rows, columns, stride: columns, at: 0 };
}

/** Rows `from` to `to` of a matrix. */
export function rowsOf(m: Matrix, from: number, to: number): Matrix {
  return { ...m, rows: to - from, at: m.at + from * m.stride };
}

/** Columns `from` to `to` of a matrix. */
export function columnsOf(m: Matrix, from: number, to: number): Matrix {
  return { ...m, columns: to - from, at: m.at + from };
}

export interface MatmulOptions {
  /** (m, n) */
  readonly out: Matrix;
  /** (m, k), or with transA (k, m). */
  readonly a: Matrix;
  /** (k, n), or with transB (n, k). */
  readonly b: Matrix;
  readonly transA?: boolean;
  readonly transB?: boolean;
  /** 1: out += A B. */
  readonly accumulate?: number;
  /** (n), added before the products. */
  readonly bias?: Tensor | null;
  /** The dimension that counts tokens, and the token that its first row is. */
  readonly live?: { readonly dimension: "m" | "k"; readonly row0: number } | null;
}

/** How a variant of the kernel cuts the work; the order of the sums is the same for all. */
export interface Tiling {
  /** Rows a thread computes. */
  readonly TM: number;
  /** Groups of four columns a thread computes. */
  readonly TN: number;
  /** Threads side by side. */
  readonly LANES: number;
  /** Threads below each other. */
  readonly BANDS: number;
}

/** The variants of the kernel; all give the same bits. */
export type Variant =
  /** matmul.wgsl: works for every shape. */
  | ({ readonly form: "registers" } & Tiling)
  /** matmul_lanes.wgsl, with R rows a workgroup: whole groups of four only. */
  | { readonly form: "lanes"; readonly R: number };

/** The variant for a product before anything was measured on the adapter. */
function defaultVariant({ limits }: Recorder, m: number, isWhole: boolean): Variant {
  if (isWhole && limits.isSoftware && limits.subgroupSize >= 8 && m >= 8) {
    return { form: "lanes", R: m >= 32 ? 32 : m >= 16 ? 16 : 8 };
  }
  return limits.isSoftware
    ? { form: "registers", TM: 8, TN: 2, LANES: 8, BANDS: 1 }
    : { form: "registers", TM: 4, TN: 1, LANES: 16, BANDS: 16 };
}

/** With fewer rows than this, B stored as (n, k) is read as it is; with more it pays to transpose it first. */
const TRANSPOSE_FROM_ROWS = 16;

/**
 * out = A B, or out += A B, in windows that fit the binding limit.
 *
 * Where k is cut, later windows start from what the earlier ones left: the order of the sums stays the same.
 */
export function matmul(recorder: Recorder, options: MatmulOptions): void {
  const { out, a, transA = false, live = null } = options;
  const turn = options.transB === true && out.rows >= TRANSPOSE_FROM_ROWS;
  const b = turn ? transposed(recorder, options.b) : options.b;
  const transB = options.transB === true && !turn;
  const k = transA ? a.rows : a.columns;
  const fit = (stride: number) =>
    Math.max(1, Math.floor((recorder.limits.maxBinding - ALIGNMENT) / (4 * stride)));
  const rowWindow = Math.min(out.rows, fit(out.stride), transA ? Infinity : fit(a.stride));
  const columnWindow = Math.min(out.columns, transB ? fit(b.stride) : Infinity);
  const depthWindow = Math.min(k, transB ? Infinity : fit(b.stride), transA ? fit(a.stride) : Infinity);
  for (const [row, rows] of windows(out.rows, rowWindow)) {
    for (const [column, columns] of windows(out.columns, columnWindow)) {
      for (const [from, depth] of windows(k, depthWindow)) {
        const part = (m: Matrix, r: number, rs: number, c: number, cs: number) =>
          columnsOf(rowsOf(m, r, r + rs), c, c + cs);
        dispatchPart(recorder, {
          ...options,
          out: part(out, row, rows, column, columns),
          a: transA ? part(a, from, depth, row, rows) : part(a, row, rows, from, depth),
          b: transB ? part(b, column, columns, from, depth) : part(b, from, depth, column, columns),
          transB,
          bias: from === 0 ? options.bias : null,
          biasAt: column,
          accumulate: from === 0 ? options.accumulate : 1,
          live: live &&
            { dimension: live.dimension, row0: live.row0 + (live.dimension === "m" ? row : from) },
        });
      }
    }
  }
}

/** (start, length) of each window. */
function* windows(count: number, size: number): Generator<[number, number]> {
  for (let start = 0; start < count; start += size) yield [start, Math.min(size, count - start)];
}

function dispatchPart(recorder: Recorder, options: MatmulOptions & { biasAt: number }): void {
  const { out, a, b, transA = false, transB = false, bias = null, accumulate = 0, live = null } = options;
  const m = out.rows;
  const n = out.columns;
  const k = transA ? a.rows : a.columns;
  const inGroups = (x: Matrix) => x.stride % 4 === 0 && x.at % 4 === 0;
  const wholeOut = inGroups(out) && n % 4 === 0;
  const wholeB = !transB && inGroups(b) && (n % 4 === 0 || b.stride >= roundUp4(n));
  const wholeA = inGroups(a) && (transA || k % 4 === 0);
  const wholeBias = options.biasAt % 4 === 0;
  const variant = defaultVariant(recorder, m, wholeOut && wholeB && wholeA && wholeBias);
  const constants = { TA: transA, ACC: accumulate, BIAS: bias !== null, DIM: live?.dimension ?? "none" };
  const kernel = variant.form === "lanes"
    ? lanes.kernel({ ...constants, R: variant.R })
    : registers.kernel({ ...constants, ...tiling(variant), TB: transB, VB: wholeB, VO: wholeOut });
  const [tileRows, tileColumns] = variant.form === "lanes"
    ? [variant.R, 32]
    : [variant.TM * variant.BANDS, variant.TN * variant.LANES * 4];
  const across = Math.ceil(n / tileColumns);
  recorder.dispatch(kernel, {
    tensors: {
      a: span(a),
      b: span(b),
      out: span(out),
      ...(bias !== null ? { bias: { tensor: bias, at: options.biasAt, length: n } } : {}),
    },
    uniforms: {
      row0: live?.row0 ?? 0,
      rows: live?.dimension === "k" ? k : m,
      m,
      n,
      k,
      lda: a.stride,
      ldb: b.stride,
      ldo: out.stride,
    },
    groups: (now: Live) => {
      if (live === null) return Math.ceil(m / tileRows) * across;
      const inUse = Math.max((now.rows ?? 0) - live.row0, 0);
      if (live.dimension === "m") return Math.ceil(Math.min(m, inUse) / tileRows) * across;
      return inUse === 0 && accumulate === 1 ? 0 : Math.ceil(m / tileRows) * across;
    },
    flops: 2 * m * n * k,
  });
}

function tiling({ TM, TN, LANES, BANDS }: Tiling): Record<string, number> {
  return { TM, TN, LANES, BANDS };
}

/** Every element of a matrix, from its first to its last; rows that are parts of longer ones include the gaps. */
function span(m: Matrix): Slice {
  return { tensor: m.tensor, at: m.at, length: (m.rows - 1) * m.stride + m.columns };
}

function roundUp4(n: number): number {
  return Math.ceil(n / 4) * 4;
}

/** (n, k) -> (k, n) in memory of its own, rows padded to whole groups of four. */
export function transposed(recorder: Recorder, source: Matrix): Matrix {
  const stride = roundUp4(source.rows);
  const tensor = recorder.tensor(`${source.tensor.name}^T`, [source.columns, stride]);
  const out: Matrix = { tensor, rows: source.columns, columns: source.rows, stride, at: 0 };
  const fit = (width: number) =>
    Math.max(1, Math.floor((recorder.limits.maxBinding - ALIGNMENT) / (4 * width)));
  const sourceWindow = Math.min(source.rows, fit(source.stride));
  const outWindow = Math.min(out.rows, fit(out.stride));
  for (const [row, rows] of windows(source.rows, sourceWindow)) {
    for (const [column, columns] of windows(out.rows, outWindow)) {
      const part = columnsOf(rowsOf(source, row, row + rows), column, column + columns);
      recorder.dispatch(transposing.kernel({ PART: row > 0 }), {
        tensors: { source: span(part), out: span(rowsOf(out, column, column + columns)) },
        uniforms: { m: rows, n: columns, ldi: source.stride, ldo: stride, col0: row },
        groups: Math.ceil(rows / 8) * Math.ceil(columns / 8),
      });
    }
  }
  return out;
}
