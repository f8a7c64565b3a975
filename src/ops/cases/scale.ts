import { floatTensor, makeCase, type OpCase } from "./types.ts";

const sizes: readonly (readonly [M: number, C: number, sizes?: OpCase["sizes"]])[] = [
  [1, 1],
  [3, 65],
  [65, 17],
  [256, 128, "model"],
];

export const scaleCases: readonly OpCase[] = sizes.map(([M, C, size]) =>
  makeCase("scale", `M${M} C${C}`, { factor: 0.3 }, [floatTensor("x", [M, C])], size)
);
