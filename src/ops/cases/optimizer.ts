import { floatTensor, makeCase, type OpCase } from "./types.ts";

export const gradNormCases: readonly OpCase[] = [
  gradNormCase(1, 1),
  gradNormCase(3, 7),
  gradNormCase(257, 512),
  gradNormCase(10007, 31),
  gradNormCase(65, 1, 0), // sqrt(0)
  gradNormCase(100003, 1536, 1, "model"),
];

function gradNormCase(n: number, count: number, std = 1, sizes?: OpCase["sizes"]): OpCase {
  const grads = floatTensor("grads", [n], { grad: false, map: (value) => std * value });
  return makeCase("gradNorm", `n${n} count ${count}${std ? "" : " zeros"}`, { count }, [grads], sizes);
}

const USUAL = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  clip: 1,
  step: 7,
  count: 37,
};

export const adamwCases: readonly OpCase[] = [
  adamwCase("n1", 1, USUAL),
  adamwCase("n3 first step", 3, { ...USUAL, step: 1 }),
  adamwCase("n65 no decay", 65, { ...USUAL, weightDecay: 0 }),
  adamwCase("n65 no clip, eps 0.01", 65, { ...USUAL, clip: 0, count: 1, eps: 0.01, beta1: 0.5 }),
  adamwCase("n257 clipped", 257, { ...USUAL, clip: 0.5, count: 2 }),
  adamwCase("n131 below the clip", 131, { ...USUAL, clip: 100 }),
  adamwCase("n1031 late, beta2 0.999", 1031, { ...USUAL, beta2: 0.999, step: 5000, learningRate: 0.05 }),
  adamwCase("n65537", 65537, { ...USUAL, count: 512 }, "model"),
];

function adamwCase(name: string, n: number, options: typeof USUAL, sizes?: OpCase["sizes"]): OpCase {
  const tensors = [
    floatTensor("param", [n], { grad: false }),
    floatTensor("grad", [n], { grad: false }),
    floatTensor("moment1", [n], { grad: false, map: (value) => 0.1 * value }),
    floatTensor("moment2", [n], { grad: false, map: (value) => 0.01 * value ** 2 }),
  ];
  return makeCase("adamw", name, options, tensors, sizes);
}
