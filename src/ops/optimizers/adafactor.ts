import applyText from "../../../shaders/adafactor.wgsl" with { type: "text" };
import columnsText from "../../../shaders/adafactor_columns.wgsl" with { type: "text" };
import lengthText from "../../../shaders/adafactor_length.wgsl" with { type: "text" };
import rowsText from "../../../shaders/adafactor_rows.wgsl" with { type: "text" };
import type { DispatchOptions, Recorder } from "../../gpu/recorder.ts";
import { Arena, rowWindows, type Slice, type Tensor } from "../../gpu/tensor.ts";
import { forRows, shader } from "../rowwise.ts";
import { layOutMoment, type Optimizer } from "./types.ts";

const rowsSource = shader("adafactor_rows.wgsl", rowsText);
const columnsSource = shader("adafactor_columns.wgsl", columnsText);
const lengthSource = shader("adafactor_length.wgsl", lengthText);
const applySource = shader("adafactor.wgsl", applyText);

/** Rows whose squares are summed in one chain before the blocks are: part of the canonical order. */
const BLOCK = 64;
/** Chains of the sums over a whole parameter. */
const CHAINS = 64;
/** The least that a parameter's size counts as, so that one that starts at 0 moves: epsilon 2 of the paper. */
const SMALLEST_RMS = 1e-3;

export interface AdafactorOptions {
  readonly kind: "adafactor";
  /** 0: no first moment, and no memory for it. */
  readonly beta1: number;
  /** null: 1 - step^-0.8. A number: Adam's, with its correction of the bias. */
  readonly beta2: number | null;
  /** Added to the squared gradients: epsilon 1 of the paper. */
  readonly eps: number;
  readonly weightDecay: number;
  /** Multiply the learning rate by the root mean square of the parameter. */
  readonly scaleParameter: boolean;
}

/** A parameter with what the step on it reads and writes. */
interface Update {
  readonly weights: Tensor;
  readonly gradients: Tensor;
  /** null: no first moment. */
  readonly moment1: Tensor | null;
  readonly control: Tensor;
  readonly options: AdafactorOptions;
  /** Weight decay of this parameter. */
  readonly decay: number;
}

/**
 * Adafactor (Shazeer and Stern 2018, arXiv 1804.04235), as T5 was trained with it. With g the clipped mean gradient and
 * t the step, for each parameter W:
 *
 *     v = beta2(t) v + (1 - beta2(t)) (g^2 + eps)        of a matrix only its rows' means r and columns' means c,
 *                                                        which stand for v = r c / mean(r)
 *     u = g / sqrt(v)
 *     s = learningRate max(RMS(W), 1e-3) u / max(1, RMS(u))    without scaleParameter: no max(RMS(W), 1e-3)
 *     m = beta1 m + (1 - beta1) s                        with beta1 = 0: m = s
 *     W = W (1 - learningRate weightDecay) - m
 *
 * State: `moment2.rows` (R) and `moment2.columns` (C) of a matrix (R, C), `moment2` of a vector, and with beta1 above 0
 * `moment1` in the parameter's shape.
 */
export function adafactor(options: AdafactorOptions): Optimizer {
  const { beta1, beta2, weightDecay } = options;
  return {
    layOut(weights) {
      const moment2 = new Arena("moment2", weights.maxBuffer);
      for (const { name, shape } of weights.tensors) {
        if (shape.length === 2) {
          moment2.add(`${name}.moment2.rows`, [shape[0]]);
          moment2.add(`${name}.moment2.columns`, [shape[1]]);
        } else moment2.add(`${name}.moment2`, shape);
      }
      return beta1 > 0 ? [moment2, layOutMoment(weights, "moment1")] : [moment2];
    },

    record(recorder, { weights, gradients, state, control, decays }) {
      const byName = new Map(state.flatMap(({ tensors }) => tensors).map((tensor) => [tensor.name, tensor]));
      recorder.segment("adafactor", () => {
        weights.tensors.forEach((tensor, i) => {
          const moment = (name: string) => byName.get(`${tensor.name}.${name}`);
          const update: Update = {
            weights: tensor,
            gradients: gradients.tensors[i],
            moment1: moment("moment1") ?? null,
            control,
            options,
            decay: decays(tensor) ? weightDecay : 0,
          };
          const [rows, columns] = [moment("moment2.rows"), moment("moment2.columns")];
          if (rows && columns) recordMatrix(recorder, update, rows, columns);
          else recordVector(recorder, update, moment("moment2")!);
        });
      });
    },

    live: (step) => ({
      freshShare: beta2 === null ? step ** -0.8 : (1 - beta2) / (1 - beta2 ** step),
    }),
  };
}

/** @param rowMoment (R) @param columnMoment (C) */
function recordMatrix(recorder: Recorder, update: Update, rowMoment: Tensor, columnMoment: Tensor): void {
  const { weights, gradients, control, options: { eps, scaleParameter: SCALE } } = update;
  const [R, C] = weights.shape;
  const VEC = C % 4 === 0;
  const cut = recorder.limits.isSoftware ? { LANES: 1, ROWS: 8, VEC } : { LANES: 32, ROWS: 4, VEC: false };
  const windows = { widths: [C], live: false };
  const rowsKernel = rowsSource.kernel({ SQUARES: false, SCALE, LIVE: false, ...cut });
  forRows(recorder, R, windows, ({ from, to, uniforms, groups }) => {
    recorder.dispatch(rowsKernel, {
      tensors: { control, gradients: gradients.rows(from, to), row_moment: rowMoment.rows(from, to) },
      uniforms: { ...uniforms, width: C, eps },
      groups: groups(1, cut.ROWS),
      flops: 3 * (to - from) * C,
    });
  });
  const { mean, columnScale } = recordColumns(recorder, update, columnMoment);

  const squares = recorder.tensor("squares of rows", [R, 2]); // (R, 2) of the update, of the weights
  const squaresKernel = rowsSource.kernel({ SQUARES: true, SCALE, LIVE: false, ...cut });
  forRows(recorder, R, windows, ({ from, to, uniforms, groups }) => {
    recorder.dispatch(squaresKernel, {
      tensors: {
        control,
        gradients: gradients.rows(from, to),
        row_moment: rowMoment.rows(from, to),
        column_scale: columnScale,
        mean,
        squares: squares.rows(from, to),
        ...(SCALE ? { weights: weights.rows(from, to) } : {}),
      },
      uniforms: { ...uniforms, width: C },
      groups: groups(1, cut.ROWS),
      flops: 6 * (to - from) * C,
    });
  });
  const step = recordLength(recorder, update, R, 2, (from, to) => ({ squares: squares.rows(from, to) }));
  forRows(recorder, R, windows, ({ from, to }) => {
    const tensors = { step, row_moment: rowMoment.rows(from, to), column_scale: columnScale, mean };
    recordApply(recorder, update, { from, to, rows: to - from, width: C }, tensors);
  });
}

/**
 * Updates the columns' moments.
 *
 * @param columnMoment (C)
 * @returns their mean (1), and 1 over their roots (C)
 */
function recordColumns(recorder: Recorder, { gradients, control, options }: Update, columnMoment: Tensor) {
  const [R, C] = gradients.shape;
  const VEC = C % 4 === 0;
  const across = Math.ceil(C / (VEC ? 256 : 64));
  const sums = recorder.tensor("sums of columns", [C]); // (C)
  let begun: { first: number; partial: Tensor } | null = null;
  forRows(recorder, R, { widths: [C], live: false, multiple: BLOCK }, ({ from, to, uniforms }) => {
    // A window holds whole blocks or, where BLOCK rows don't fit, goes on with the block that the last one began.
    const GOES_ON = from % BLOCK !== 0;
    if (begun === null || !GOES_ON) {
      begun = { first: from, partial: recorder.tensor("blocks", [Math.ceil((to - from) / BLOCK), C]) };
    }
    const { first, partial } = begun;
    recorder.dispatch(columnsSource.kernel({ STEP: "blocks", VEC, BLOCK, LIVE: false, GOES_ON }), {
      tensors: { control, gradients: gradients.rows(from, to), partial },
      uniforms: { ...uniforms, width: C },
      groups: Math.ceil((to - from) / BLOCK) * across,
      flops: 3 * (to - from) * C,
    });
    if (to % BLOCK !== 0 && to !== R) return;
    recorder.dispatch(columnsSource.kernel({ STEP: "total", VEC, BLOCK, FIRST: first === 0 }), {
      tensors: { control, partial, sums },
      uniforms: { width: C, blocks: partial.shape[0] },
      groups: across,
      flops: partial.size,
    });
  });
  const columnScale = recorder.tensor("column scale", [C]); // (C)
  const mean = recorder.tensor("mean of columns", [1]);
  recorder.dispatch(columnsSource.kernel({ STEP: "moment", VEC, BLOCK }), {
    tensors: { control, sums, column_moment: columnMoment, column_scale: columnScale, mean },
    uniforms: { width: C, height: R, eps: options.eps },
    groups: 1,
    flops: 5 * C,
  });
  return { mean, columnScale };
}

/** @param moment2 (n) */
function recordVector(recorder: Recorder, update: Update, moment2: Tensor): void {
  const { weights, gradients, options: { scaleParameter } } = update;
  const step = recordLength(recorder, update, weights.size, 1, (from, to) => ({
    gradients: gradients.rows(from, to),
    moment2: moment2.rows(from, to),
    ...(scaleParameter ? { weights: weights.rows(from, to) } : {}),
  }));
  forRows(recorder, weights.size, { widths: [1], live: false }, ({ from, to }) => {
    const tensors = { step, moment2: moment2.rows(from, to) };
    recordApply(recorder, update, { from, to, rows: 1, width: to - from }, tensors);
  });
}

/**
 * The length of the step, from what `tensorsOf` says of `count` rows of `width` values.
 *
 * @returns (1)
 */
function recordLength(
  recorder: Recorder,
  { weights, control, options: { eps, scaleParameter: SCALE } }: Update,
  count: number,
  width: number,
  tensorsOf: (from: number, to: number) => Readonly<Record<string, Slice>>,
): Tensor {
  const FACTORED = weights.shape.length === 2;
  const windows = rowWindows(count, recorder.limits, [width], CHAINS);
  const begun = recorder.tensor("begun sums", [CHAINS, 2]);
  const step = recorder.tensor("step", [1]);
  for (const [i, { from, to }] of windows.entries()) {
    const [FIRST, LAST] = [i === 0, i === windows.length - 1];
    recorder.dispatch(lengthSource.kernel({ FACTORED, SCALE, FIRST, LAST }), {
      tensors: {
        control,
        ...tensorsOf(from, to),
        ...(FIRST && LAST ? {} : { begun }),
        ...(LAST ? { step } : {}),
      },
      uniforms: {
        count: to - from,
        size: weights.size,
        smallest: SMALLEST_RMS,
        ...(FACTORED ? {} : { eps }),
      },
      groups: 1,
      flops: (FACTORED ? 2 : 10) * (to - from),
    });
  }
  return step;
}

/** Rows that a thread of the step goes through. */
const ROWS = 8;

/** A window of a parameter: rows of a matrix, or a stretch of a vector as one row. */
interface Window {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
  readonly width: number;
}

/** The step itself. */
function recordApply(
  recorder: Recorder,
  { weights, gradients, moment1, control, options: { beta1 }, decay }: Update,
  { from, to, rows, width }: Window,
  tensors: DispatchOptions["tensors"],
): void {
  const VEC = weights.shape.at(-1)! % 4 === 0;
  const constants = { FACTORED: weights.shape.length === 2, MOMENTUM: moment1 !== null, VEC, ROWS };
  recorder.dispatch(applySource.kernel(constants), {
    tensors: {
      control,
      gradients: gradients.rows(from, to),
      weights: weights.rows(from, to),
      ...tensors,
      ...(moment1 ? { moment1: moment1.rows(from, to) } : {}),
    },
    uniforms: { rows, width, decay, ...(moment1 ? { beta1 } : {}) },
    groups: Math.ceil(rows / ROWS) * Math.ceil(width / (VEC ? 256 : 64)),
    flops: 8 * rows * width,
  });
}
