import { floats, numberOption, type OpReference } from "./types.ts";

/** y = x * options.factor, elementwise; x of any shape. */
export const scale: OpReference = {
  forward: (inputs, options) => floats(inputs, "x").map((value) => value * numberOption(options, "factor")),
  backward: (_inputs, dOut, options) => ({ x: dOut.map((value) => value * numberOption(options, "factor")) }),
};
