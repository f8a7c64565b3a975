import { floats, ids, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/**
 * x (B, T, W), places (B*T), table (S, D): cosines, then sines -> (B, T, W). In the first numHeads heads of headDim
 * dimensions, pair k of the first D dimensions, (k, k + D/2) or, interleaved, (2k, 2k + 1), becomes
 * (a cos - b sin, b cos + a sin).
 */
export const rotary: OpReference = {
  forward(inputs, options) {
    return turn(inputs, floats(inputs, "x"), 1, options);
  },

  backward(inputs, dOut, options) {
    return { x: turn(inputs, dOut, -1, options) };
  },
};

/** `values` (B, T, W) with every pair turned; direction -1: back. */
function turn(inputs: Inputs, values: Float64Array, direction: 1 | -1, options: Options): Float64Array {
  const [numHeads, headDim] = [numberOption(options, "numHeads"), numberOption(options, "headDim")];
  const table = floats(inputs, "table");
  const D = inputs.table.shape[1];
  const W = inputs.x.shape.at(-1)!;
  const out = values.slice();
  ids(inputs, "places").forEach((place, m) => {
    for (let head = 0; head < numHeads; head++) {
      for (let k = 0; k < D / 2; k++) {
        const cos = table[place * D + k];
        const sin = direction * table[place * D + D / 2 + k];
        const a = m * W + head * headDim + (options.interleaved ? 2 * k : k);
        const b = a + (options.interleaved ? 1 : D / 2);
        out[a] = values[a] * cos - values[b] * sin;
        out[b] = values[b] * cos + values[a] * sin;
      }
    }
  });
  return out;
}
