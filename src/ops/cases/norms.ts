import { floatTensor, makeCase, type OpCase } from "./types.ts";

interface NormCase {
  readonly M: number;
  readonly C: number;
  readonly eps?: number;
  readonly hasBias?: boolean;
  /** Of x. */
  readonly mean?: number;
  readonly sizes?: OpCase["sizes"];
}

// Where C is 1 or 2 and eps small, the gradient of x is the small difference of large terms: nothing but rounding in
// f32. Hence the large eps there.
export const layerNormCases: readonly OpCase[] = [
  normCase("layerNorm", { M: 1, C: 1, eps: 0.1, hasBias: true }),
  normCase("layerNorm", { M: 5, C: 2, eps: 0.1 }),
  normCase("layerNorm", { M: 3, C: 3, hasBias: true }),
  normCase("layerNorm", { M: 7, C: 131, eps: 1e-6, hasBias: true }),
  normCase("layerNorm", { M: 131, C: 65, hasBias: true }),
  normCase("layerNorm", { M: 2, C: 1031 }),
  normCase("layerNorm", { M: 17, C: 33, hasBias: true, mean: 10 }), // E[x^2] - mean^2 would cancel
  normCase("layerNorm", { M: 256, C: 768, hasBias: true, sizes: "model" }),
];

export const rmsNormCases: readonly OpCase[] = [
  normCase("rmsNorm", { M: 1, C: 1, eps: 0.1 }),
  normCase("rmsNorm", { M: 3, C: 3 }),
  normCase("rmsNorm", { M: 65, C: 7, eps: 1e-6 }),
  normCase("rmsNorm", { M: 7, C: 131 }),
  normCase("rmsNorm", { M: 131, C: 65, mean: 10 }),
  normCase("rmsNorm", { M: 2, C: 1031 }),
  normCase("rmsNorm", { M: 256, C: 768, sizes: "model" }),
];

function normCase(op: "layerNorm" | "rmsNorm", spec: NormCase): OpCase {
  const { M, C, eps = 1e-5, hasBias = false, mean = 0, sizes } = spec;
  const tensors = [
    floatTensor("x", [M, C], { map: (value) => value + mean }),
    floatTensor("weight", [C], { map: (value) => 1 + 0.5 * value }),
  ];
  if (hasBias) tensors.push(floatTensor("bias", [C]));
  const name = `M${M} C${C} eps ${eps}${hasBias ? " bias" : ""}${mean ? ` mean ${mean}` : ""}`;
  return makeCase(op, name, { eps }, tensors, sizes);
}
