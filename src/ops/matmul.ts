import matmulText from "../../shaders/matmul.wgsl" with { type: "text" };
import lanesText from "../../shaders/matmul_lanes.wgsl" with { type: "text" };
import tileText from "../../shaders/matmul_tile.wgsl" with { type: "text" };
import transposeText from "../../shaders/transpose.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Question } from "../gpu/tuner.ts";
import type { Constants } from "../gpu/template.ts";
import { ALIGNMENT, type EngineLimits, type Slice, type Tensor } from "../gpu/tensor.ts";
import { shader } from "./rowwise.ts";

const registers = shader("matmul.wgsl", matmulText);
const tiles = shader("matmul_tile.wgsl", tileText);
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
  /** How to compute it; by default what is best for the shape. */
  readonly plan?: Plan;
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
  /** matmul.wgsl: registers only; any shape. */
  | ({ readonly form: "registers" } & Tiling)
  /** matmul_tile.wgsl: through workgroup memory; any shape. */
  | ({ readonly form: "tile"; readonly DEPTH: number } & Tiling)
  /** matmul_lanes.wgsl, with R rows a workgroup: whole groups of four only. */
  | { readonly form: "lanes"; readonly R: number };

/** Which layouts a product has. */
export type MatmulKind = "NN" | "NT" | "TN";

/** A way to compute a product; `turn`: B stored as (n, k) is transposed first. */
export interface Plan {
  readonly variant: Variant;
  readonly turn: boolean;
}

const REGISTERS: Variant = { form: "registers", TM: 8, TN: 2, LANES: 8, BANDS: 1 };

/** The plans that are worth measuring, the best guess first. */
export function matmulPlans(limits: EngineLimits, kind: MatmulKind, m: number): Plan[] {
  const plans: Plan[] = [];
  const consider = (variant: Variant, turn = kind === "NT") => plans.push({ variant, turn });
  if (limits.isSoftware) {
    // Loads are dear: A is spread over lanes where that works, and B is turned unless there are too few rows to pay.
    if (limits.subgroupSize >= 8 && m >= 8) {
      for (const R of m >= 32 ? [32, 16] : m >= 16 ? [16, 8] : [8]) consider({ form: "lanes", R });
    } else {
      consider(REGISTERS);
    }
    if (kind === "NT" && m < 64) {
      consider(REGISTERS, false);
      if (m < 16) plans.unshift(plans.pop()!);
    }
    return plans;
  }
  const tile = (TM: number, TN: number, LANES: number, BANDS: number, DEPTH: number) => {
    if (LANES * BANDS > limits.workgroupSize) return;
    if ((TM * BANDS + TN * LANES) * DEPTH * 4 > limits.workgroupMemory) return;
    consider({ form: "tile", TM, TN, LANES, BANDS, DEPTH }, false);
  };
  tile(4, 4, 16, 16, 16);
  tile(8, 4, 16, 8, 16);
  tile(8, 4, 32, 8, 8);
  tile(8, 8, 16, 16, 8);
  tile(2, 2, 16, 16, 16);
  consider({ form: "registers", TM: 8, TN: 1, LANES: 8, BANDS: 8 });
  consider({ form: "registers", TM: 4, TN: 1, LANES: 16, BANDS: 16 });
  if (limits.subgroupSize >= 8 && m >= 16) consider({ form: "lanes", R: 16 });
  return plans;
}

/** The plan for a product: what was measured for its class of shapes, or the best guess. */
function choosePlan({ limits }: Recorder, kind: MatmulKind, m: number, n: number, k: number): Plan {
  if (limits.choices === undefined) return matmulPlans(limits, kind, m)[0];
  // A class: each size rounded up to a power of two, up to one from which on all behave alike.
  const most = limits.isSoftware ? 512 : 4096;
  const sizes = [m, n, k].map((size) => Math.min(2 ** Math.ceil(Math.log2(size)), most));
  const plans = matmulPlans(limits, kind, sizes[0]);
  const question = `matmul ${kind} ${sizes.join(" ")} ${limits.subgroupSize} ${VERSION}`;
  return plans[limits.choices.choose(question, plans.map((plan) => JSON.stringify(plan)))];
}

/** What the tuner is to measure for a class of products that `choosePlan` has asked about. */
export function matmulQuestion(limits: EngineLimits, name: string): Question {
  const [, kind, ...sizes] = name.split(" ");
  const [m, n, k] = sizes.slice(0, 3).map(Number);
  const transA = kind === "TN";
  const transB = kind === "NT";
  return {
    shapes: [transA ? [k, m] : [m, k], transB ? [n, k] : [k, n], [m, n]],
    candidates: matmulPlans(limits, kind as MatmulKind, m).map((plan) => ({
      name: JSON.stringify(plan),
      record: (recorder, [a, b, out]) =>
        matmul(recorder, { out: matrix(out), a: matrix(a), b: matrix(b), transA, transB, plan }),
    })),
  };
}

/** Answers are kept for these shaders. */
const VERSION = [matmulText, lanesText, tileText, transposeText]
  .join("").split("").reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0) | 0, 0).toString(
    36,
  );

/**
 * out = A B, or out += A B, in windows that fit the binding limit.
 *
 * Where k is cut, later windows start from what the earlier ones left: the order of the sums stays the same.
 */
export function matmul(recorder: Recorder, options: MatmulOptions): void {
  const { out, a, transA = false, live = null } = options;
  const k = transA ? a.rows : a.columns;
  const kind = transA ? "TN" : options.transB === true ? "NT" : "NN";
  const plan = options.plan ?? choosePlan(recorder, kind, out.rows, out.columns, k);
  const turn = options.transB === true && plan.turn;
  const b = turn ? transposed(recorder, options.b) : options.b;
  const transB = options.transB === true && !turn;
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
          variant: plan.variant,
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

function dispatchPart(
  recorder: Recorder,
  options: MatmulOptions & { biasAt: number; variant: Variant },
): void {
  const { out, a, b, transA = false, transB = false, bias = null, accumulate = 0, live = null } = options;
  const m = out.rows;
  const n = out.columns;
  const k = transA ? a.rows : a.columns;
  const inGroups = (x: Matrix) => x.stride % 4 === 0 && x.at % 4 === 0;
  const wholeOut = inGroups(out) && n % 4 === 0;
  const wholeB = !transB && inGroups(b) && (n % 4 === 0 || b.stride >= roundUp4(n));
  const wholeA = inGroups(a) && (transA || k % 4 === 0);
  const wholeBias = options.biasAt % 4 === 0;
  const isWhole = wholeOut && wholeB && wholeA && wholeBias;
  const variant = options.variant.form === "lanes" && !isWhole ? REGISTERS : options.variant;
  const constants = { TA: transA, ACC: accumulate, BIAS: bias !== null, DIM: live?.dimension ?? "none" };
  const { kernel, tileRows, tileColumns } = kernelOf(variant, constants, {
    TB: transB,
    VB: wholeB,
    VO: wholeOut,
  });
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

/** A variant's kernel, and the part of the result that one workgroup computes. */
function kernelOf(
  { form, ...cut }: Variant,
  constants: Constants,
  layout: { TB: boolean; VB: boolean; VO: boolean },
) {
  if ("R" in cut) return { kernel: lanes.kernel({ ...constants, ...cut }), tileRows: cut.R, tileColumns: 32 };
  const tileRows = cut.TM * cut.BANDS;
  const columns = cut.TN * cut.LANES;
  if (form === "tile") {
    return { kernel: tiles.kernel({ ...constants, ...cut, TB: layout.TB }), tileRows, tileColumns: columns };
  }
  return {
    kernel: registers.kernel({ ...constants, ...cut, ...layout }),
    tileRows,
    tileColumns: columns * 4,
  };
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
      const VEC = [rows, columns, part.stride, part.at, row, column].every((size) => size % 4 === 0);
      recorder.dispatch(transposing.kernel({ PART: row > 0, VEC }), {
        tensors: { source: span(part), out: span(rowsOf(out, column, column + columns)) },
        uniforms: { m: rows, n: columns, ldi: source.stride, ldo: stride, col0: row },
        groups: VEC ? Math.ceil(rows / 32) * (columns / 4) : Math.ceil(rows / 8) * Math.ceil(columns / 8),
      });
    }
  }
  return out;
}
