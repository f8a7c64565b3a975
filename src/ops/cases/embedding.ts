import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

export const embeddingCases: readonly OpCase[] = [
  embeddingCase(1, 1, 1),
  embeddingCase(3, 5, 3),
  embeddingCase(65, 7, 65), // every id many times
  embeddingCase(130, 1031, 33), // most ids never
  embeddingCase(16500, 17000, 1), // more tokens than a binding of 64 KiB holds, more distinct ones than one of 16 KiB
  makeCase("embedding", "M131 V3 C17 one id", {}, [
    idTensor("ids", [131], 3, () => 2),
    floatTensor("table", [3, 17]),
  ]),
  embeddingCase(256, 1024, 128, "model"),
];

function embeddingCase(M: number, V: number, C: number, sizes?: OpCase["sizes"]): OpCase {
  const tensors = [idTensor("ids", [M], V), floatTensor("table", [V, C])];
  return makeCase("embedding", `M${M} V${V} C${C}`, {}, tensors, sizes);
}
