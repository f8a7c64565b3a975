import { meanGradientNorm } from "./gradNorm.ts";
import { floats, numberOption, type OpReference } from "./types.ts";

/**
 * One AdamW step (Loshchilov and Hutter 2019): param, grad (of the sum of losses), moment1, moment2, all (n) ->
 * (3, n): the new param, moment1, moment2. The gradient is divided by options.count, then scaled down to norm
 * options.clip (0: not). options.step counts from 1. No gradient.
 */
export const adamw: OpReference = {
  forward(inputs, options) {
    const [learningRate, beta1, beta2, eps, weightDecay, clip, step, count] = [
      "learningRate",
      "beta1",
      "beta2",
      "eps",
      "weightDecay",
      "clip",
      "step",
      "count",
    ].map((name) => numberOption(options, name));
    const [param, grad, moment1, moment2] = ["param", "grad", "moment1", "moment2"]
      .map((name) => floats(inputs, name)); // (n) each
    const norm = meanGradientNorm(grad, count);
    const clipScale = clip > 0 ? Math.min(1, clip / (norm + 1e-6)) : 1;
    const n = param.length;
    const out = new Float64Array(3 * n);
    for (let i = 0; i < n; i++) {
      const g = grad[i] / count * clipScale;
      const m = beta1 * moment1[i] + (1 - beta1) * g;
      const v = beta2 * moment2[i] + (1 - beta2) * g ** 2;
      const mHat = m / (1 - beta1 ** step);
      const vHat = v / (1 - beta2 ** step);
      out[i] = param[i] * (1 - learningRate * weightDecay) - learningRate * mHat / (Math.sqrt(vHat) + eps);
      out[n + i] = m;
      out[2 * n + i] = v;
    }
    return out;
  },

  backward: () => ({}),
};
