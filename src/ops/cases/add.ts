import { floatTensor, makeCase, type OpCase } from "./types.ts";

export const addCases: readonly OpCase[] = [
  addCase([1]),
  addCase([3, 5]),
  addCase([65, 131]),
  addCase([256, 128], "model"),
];

function addCase(shape: readonly number[], sizes?: OpCase["sizes"]): OpCase {
  return makeCase("add", shape.join("x"), {}, [floatTensor("a", shape), floatTensor("b", shape)], sizes);
}
