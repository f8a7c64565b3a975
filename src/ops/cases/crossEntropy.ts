import { IGNORE } from "../reference/crossEntropy.ts";
import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

interface CrossEntropyCase {
  readonly M: number;
  readonly C: number;
  readonly V: number;
  readonly zLoss?: number;
  /** 0, which is the default: none. */
  readonly softCap?: number;
  /** Every how manieth target has no loss. */
  readonly ignoreEvery?: number;
  /** Of the logits. */
  readonly std?: number;
  readonly sizes?: OpCase["sizes"];
}

const specs: readonly CrossEntropyCase[] = [
  { M: 1, C: 1, V: 2 },
  { M: 3, C: 5, V: 1 }, // loss 0
  { M: 3, C: 5, V: 1, zLoss: 0.1 },
  { M: 5, C: 3, V: 2, zLoss: 1e-4, ignoreEvery: 2 },
  { M: 17, C: 8, V: 61, ignoreEvery: 3 },
  { M: 65, C: 33, V: 61, zLoss: 1e-4 },
  { M: 7, C: 131, V: 300, zLoss: 0.1, ignoreEvery: 3 },
  { M: 131, C: 17, V: 300 },
  { M: 67, C: 16, V: 1031, zLoss: 1e-4, ignoreEvery: 5 },
  { M: 7, C: 5, V: 61, zLoss: 1e-4, ignoreEvery: 1 }, // no target at all
  { M: 13, C: 16, V: 300, std: 40 }, // logits far beyond what exp can hold
  { M: 17, C: 8, V: 61, softCap: 2, ignoreEvery: 3 },
  { M: 67, C: 16, V: 1031, softCap: 30, zLoss: 1e-4 }, // most logits far below the cap
  { M: 13, C: 16, V: 300, softCap: 30, std: 40 }, // and beyond it
  { M: 256, C: 128, V: 1024, sizes: "model" },
  { M: 256, C: 128, V: 1024, zLoss: 1e-4, ignoreEvery: 3, sizes: "model" },
];

export const crossEntropyCases: readonly OpCase[] = specs.map(crossEntropyCase);

function crossEntropyCase(spec: CrossEntropyCase): OpCase {
  const { M, C, V, zLoss = 0, softCap = 0, ignoreEvery = Infinity, std = 1, sizes } = spec;
  const tensors = [
    floatTensor("x", [M, C], { map: (value) => std * value }),
    floatTensor("weight", [V, C], { map: (value) => value / Math.sqrt(C) }),
    idTensor("targets", [M], V, (id, m) => (m + 1) % ignoreEvery === 0 ? IGNORE : id),
  ];
  const name = [
    `M${M} C${C} V${V} zLoss ${zLoss}`,
    ...(softCap === 0 ? [] : [`softCap ${softCap}`]),
    ...(ignoreEvery === Infinity ? [] : [`ignore 1/${ignoreEvery}`]),
    ...(std === 1 ? [] : [`std ${std}`]),
  ].join(" ");
  return makeCase("crossEntropy", name, { zLoss, softCap }, tensors, sizes);
}
