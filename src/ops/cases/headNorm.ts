import { floatTensor, makeCase, type OpCase } from "./types.ts";

interface HeadNormCase {
  readonly M: number;
  readonly NH: number;
  /** Heads behind them, with a weight of their own. */
  readonly NK?: number;
  /** Heads behind those, which stay as they are. */
  readonly rest?: number;
  readonly HS: number;
  readonly eps?: number;
  readonly sizes?: OpCase["sizes"];
}

const specs: readonly HeadNormCase[] = [
  { M: 1, NH: 1, HS: 1, eps: 0.1 }, // where HS is 1 and eps small, the gradient of x is nothing but rounding
  { M: 3, NH: 2, NK: 1, rest: 1, HS: 3 },
  { M: 17, NH: 3, HS: 8, eps: 1e-6 },
  { M: 65, NH: 4, NK: 2, rest: 2, HS: 16 },
  { M: 17, NH: 1, rest: 1, HS: 33 },
  { M: 65, NH: 1, NK: 1, rest: 1, HS: 64 },
  { M: 65, NH: 2, NK: 1, rest: 1, HS: 256 }, // windows of fewer rows than a chain of the weight's sum where bindings are small
  { M: 131, NH: 5, NK: 1, rest: 1, HS: 7 },
  { M: 256, NH: 8, NK: 2, rest: 2, HS: 32, sizes: "model" },
];

export const headNormCases: readonly OpCase[] = specs.map(headNormCase);

function headNormCase({ M, NH, NK = 0, rest = 0, HS, eps = 1e-5, sizes }: HeadNormCase): OpCase {
  const weight = (name: string) => floatTensor(name, [HS], { map: (value) => 1 + 0.5 * value });
  const tensors = [floatTensor("x", [M, (NH + NK + rest) * HS]), weight("weight")];
  if (NK > 0) tensors.push(weight("keyWeight"));
  const options = { numHeads: NH, numKeyHeads: NK, eps };
  return makeCase("headNorm", `M${M} NH${NH}+${NK}+${rest} HS${HS}`, options, tensors, sizes);
}
