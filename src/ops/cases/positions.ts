import { floatTensor, makeCase, type OpCase } from "./types.ts";

export const positionsCases: readonly OpCase[] = [
  positionsCase(1, 1, 1, 1),
  positionsCase(3, 2, 5, 7), // rows of the table that nobody uses
  positionsCase(2, 17, 17, 65),
  positionsCase(5, 65, 131, 3),
  positionsCase(2, 128, 128, 128, "model"),
];

function positionsCase(B: number, T: number, S: number, C: number, sizes?: OpCase["sizes"]): OpCase {
  const tensors = [floatTensor("x", [B, T, C]), floatTensor("table", [S, C])];
  return makeCase("positions", `B${B} T${T} S${S} C${C}`, {}, tensors, sizes);
}
