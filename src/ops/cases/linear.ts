import { floatTensor, makeCase, type OpCase } from "./types.ts";

export const linearCases: readonly OpCase[] = [
  linearCase(1, 1, 1, true),
  linearCase(3, 5, 7, true),
  linearCase(3, 5, 7, false),
  linearCase(65, 1, 3, true),
  linearCase(1, 65, 131, false),
  linearCase(64, 32, 64, true), // whole tiles
  linearCase(65, 33, 67, false), // one more than whole tiles
  linearCase(131, 257, 67, true),
  linearCase(257, 3, 131, false),
  linearCase(256, 128, 512, true, "model"),
  linearCase(256, 512, 128, false, "model"),
];

function linearCase(M: number, K: number, N: number, hasBias: boolean, sizes?: OpCase["sizes"]): OpCase {
  const tensors = [floatTensor("x", [M, K]), floatTensor("weight", [N, K])];
  if (hasBias) tensors.push(floatTensor("bias", [N]));
  return makeCase("linear", `M${M} K${K} N${N}${hasBias ? " bias" : ""}`, {}, tensors, sizes);
}
