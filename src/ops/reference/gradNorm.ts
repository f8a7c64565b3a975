import { floats, numberOption, type OpReference } from "./types.ts";

/** grads (n) of a sum of losses -> the norm of grads / count, one number. No gradient. */
export const gradNorm: OpReference = {
  forward(inputs, options) {
    return Float64Array.of(meanGradientNorm(floats(inputs, "grads"), numberOption(options, "count")));
  },

  backward: () => ({}),
};

/** sqrt(sum of squares of grads / count). */
export function meanGradientNorm(grads: Float64Array, count: number): number {
  return Math.sqrt(grads.reduce((sum, grad) => sum + (grad / count) ** 2, 0));
}
