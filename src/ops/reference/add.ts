import { floats, type OpReference } from "./types.ts";

/** a, b of the same shape -> a + b. */
export const add: OpReference = {
  forward(inputs) {
    const b = floats(inputs, "b");
    return floats(inputs, "a").map((value, i) => value + b[i]);
  },

  backward(_inputs, dOut) {
    return { a: dOut.slice(), b: dOut.slice() };
  },
};
