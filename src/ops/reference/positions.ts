import { floats, type OpReference } from "./types.ts";

/** x (B, T, C), table (S, C), S >= T -> (B, T, C): x[b, t] + table[t]. */
export const positions: OpReference = {
  forward(inputs) {
    const [, T, C] = inputs.x.shape;
    const table = floats(inputs, "table"); // (S, C)
    return floats(inputs, "x").map((value, i) => value + table[i % (T * C)]);
  },

  backward(inputs, dOut) {
    const [, T, C] = inputs.x.shape;
    const dTable = new Float64Array(floats(inputs, "table").length); // (S, C): 0 from row T on
    dOut.forEach((d, i) => dTable[i % (T * C)] += d);
    return { x: dOut.slice(), table: dTable };
  },
};
