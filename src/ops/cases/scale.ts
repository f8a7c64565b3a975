import { floatTensor, makeCase, type OpCase } from "./types.ts";

export const scaleCases: readonly OpCase[] = [[1, 1], [3, 65], [65, 17]].map(([M, C]) =>
  makeCase("scale", `M${M} C${C}`, { factor: 0.3 }, [floatTensor("x", [M, C])])
);
