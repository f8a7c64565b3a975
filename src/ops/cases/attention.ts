import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

interface AttentionCase {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly HS: number;
  /** Default: NH. */
  readonly NK?: number;
  /** Of dropout on the weights. */
  readonly rate?: number;
  /** Of q, k and v. */
  readonly std?: number;
  readonly sizes?: OpCase["sizes"];
}

const specs: readonly AttentionCase[] = [
  { B: 1, T: 1, NH: 1, HS: 1 },
  { B: 2, T: 2, NH: 1, HS: 3 },
  { B: 1, T: 17, NH: 3, HS: 1 },
  { B: 3, T: 17, NH: 2, HS: 8 },
  { B: 1, T: 65, NH: 2, HS: 16 },
  { B: 2, T: 65, NH: 1, HS: 33 },
  { B: 1, T: 33, NH: 1, HS: 64 },
  { B: 1, T: 17, NH: 2, HS: 128 },
  { B: 1, T: 35, NH: 1, HS: 256 },
  { B: 1, T: 130, NH: 2, HS: 8 },
  { B: 1, T: 130, NH: 1, HS: 33 },
  { B: 2, T: 17, NH: 6, NK: 3, HS: 8 },
  { B: 2, T: 17, NH: 5, NK: 1, HS: 16 },
  { B: 1, T: 70, NH: 2, HS: 16, std: 3 }, // scores that need their maximum subtracted
  { B: 2, T: 17, NH: 6, NK: 3, HS: 8, rate: 0.1 },
  { B: 1, T: 65, NH: 2, HS: 33, rate: 0.5 },
  { B: 2, T: 128, NH: 4, HS: 32, sizes: "model" },
  { B: 2, T: 128, NH: 4, NK: 2, HS: 32, rate: 0.1, sizes: "model" },
];

export const attentionCases: readonly OpCase[] = specs.map(attentionCase);

function attentionCase({ B, T, NH, HS, NK = NH, rate = 0, std = 1, sizes }: AttentionCase): OpCase {
  const tensors = [floatTensor("qkv", [B, T, (NH + 2 * NK) * HS], { map: (value) => std * value })];
  if (rate > 0) tensors.push(idTensor("sampleIds", [B], 2 ** 31));
  const options = { numHeads: NH, numKvHeads: NK, headDim: HS, rate, seed: 1234, step: 17, site: 5 };
  const name = `B${B} T${T} NH${NH} NK${NK} HS${HS}${rate ? ` rate ${rate}` : ""}${
    std === 1 ? "" : ` std ${std}`
  }`;
  return makeCase("attention", name, options, tensors, sizes);
}
