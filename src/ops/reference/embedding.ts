import { floats, ids, type OpReference } from "./types.ts";

/** ids (M), table (V, C) -> (M, C): row m is the table's row ids[m]. */
export const embedding: OpReference = {
  forward(inputs) {
    const table = floats(inputs, "table"); // (V, C)
    const tokens = ids(inputs, "ids"); // (M)
    const C = inputs.table.shape[1];
    const out = new Float64Array(tokens.length * C); // (M, C)
    tokens.forEach((id, m) => out.set(table.subarray(id * C, (id + 1) * C), m * C));
    return out;
  },

  backward(inputs, dOut) {
    const C = inputs.table.shape[1];
    const dTable = new Float64Array(floats(inputs, "table").length); // (V, C)
    ids(inputs, "ids").forEach((id, m) => {
      for (let c = 0; c < C; c++) dTable[id * C + c] += dOut[m * C + c];
    });
    return { table: dTable };
  },
};
