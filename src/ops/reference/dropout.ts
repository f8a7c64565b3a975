import { dropoutKeeps } from "../../random.ts";
import { floats, ids, type Inputs, numberOption, type OpReference, type Options } from "./types.ts";

/** x (B, T, C), sampleIds (B) -> x where kept / (1 - rate), else 0; the element of a sample is t * C + c. */
export const dropout: OpReference = {
  forward(inputs, options) {
    return applyMask(inputs, floats(inputs, "x"), options);
  },

  backward(inputs, dOut, options) {
    return { x: applyMask(inputs, dOut, options) };
  },
};

function applyMask(inputs: Inputs, values: Float64Array, options: Options): Float64Array {
  const [, T, C] = inputs.x.shape;
  const sampleIds = ids(inputs, "sampleIds"); // (B)
  return values.map((value, i) => {
    const sample = sampleIds[Math.floor(i / (T * C))];
    return value * dropoutScale(options, sample, i % (T * C));
  });
}

/** 0 where `element` of `sample` is dropped, 1 / (1 - rate) where it is kept. */
export function dropoutScale(options: Options, sample: number, element: number): number {
  const rate = numberOption(options, "rate");
  const at = {
    seed: numberOption(options, "seed"),
    step: numberOption(options, "step"),
    site: numberOption(options, "site"),
  };
  return dropoutKeeps(at, sample, element, rate) ? 1 / (1 - rate) : 0;
}
