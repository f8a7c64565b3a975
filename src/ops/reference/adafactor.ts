import { meanGradientNorm } from "./gradNorm.ts";
import { floats, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/**
 * One Adafactor step (Shazeer and Stern 2018) on param and grad (of the sum of losses), (R, C) or (n), with the state of
 * ../optimizers/adafactor.ts: moment2.rows (R) and moment2.columns (C), or moment2 (n), and moment1 if options.beta1 is
 * above 0 -> the new param and state, one after the other. The gradient is divided by options.count, then scaled down to
 * norm options.clip (0: not). options.step counts from 1; without options.beta2 it is 1 - step^-0.8. No gradient.
 */
export const adafactor: OpReference = {
  forward(inputs, options) {
    const [learningRate, beta1, weightDecay] = ["learningRate", "beta1", "weightDecay"]
      .map((name) => numberOption(options, name));
    const param = floats(inputs, "param");
    const gradient = clippedGradient(floats(inputs, "grad"), options);
    const { state, variance } = secondMoment(inputs, gradient, options);
    const update = gradient.map((g, i) => g / Math.sqrt(variance(i)));
    const scale = options.scaleParameter === true ? Math.max(1e-3, rootMeanSquare(param)) : 1;
    const length = learningRate * scale / Math.max(1, rootMeanSquare(update));
    const before = beta1 > 0 ? floats(inputs, "moment1") : update; // (R, C) or (n)
    const moment1 = update.map((u, i) => beta1 * before[i] + (1 - beta1) * length * u);
    const next = param.map((w, i) => w * (1 - learningRate * weightDecay) - moment1[i]);
    return Float64Array.from([next, ...state, ...(beta1 > 0 ? [moment1] : [])].flatMap((part) => [...part]));
  },

  backward: () => ({}),
};

function clippedGradient(sum: Float64Array, options: Options): Float64Array {
  const [clip, count] = ["clip", "count"].map((name) => numberOption(options, name));
  const scale = clip > 0 ? Math.min(1, clip / (meanGradientNorm(sum, count) + 1e-6)) : 1;
  return sum.map((value) => value / count * scale);
}

/** The new second moment as it is kept, and what it says of an element. */
function secondMoment(inputs: Inputs, gradient: Float64Array, options: Options) {
  const [step, eps] = ["step", "eps"].map((name) => numberOption(options, name));
  const adam = typeof options.beta2 === "number" ? options.beta2 : null;
  const beta2 = adam === null ? 1 - step ** -0.8 : adam * (1 - adam ** (step - 1)) / (1 - adam ** step);
  const moving = (name: string, fresh: (i: number) => number) =>
    floats(inputs, name).map((old, i) => beta2 * old + (1 - beta2) * fresh(i));
  const squares = gradient.map((g) => g ** 2 + eps);
  const { shape } = inputs.grad;
  if (shape.length === 1) {
    const moment2 = moving("moment2", (i) => squares[i]); // (n)
    return { state: [moment2], variance: (i: number) => moment2[i] };
  }
  const C = shape[1];
  const rows = moving("moment2.rows", (row) => mean(squares.subarray(row * C, (row + 1) * C))); // (R)
  const columns = moving("moment2.columns", (column) => mean(squares.filter((_, i) => i % C === column))); // (C)
  const all = mean(rows);
  return {
    state: [rows, columns],
    variance: (i: number) => rows[Math.floor(i / C)] * columns[i % C] / all,
  };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function rootMeanSquare(values: Float64Array): number {
  return Math.sqrt(mean(values.map((value) => value ** 2)));
}
