import { type Activation, ACTIVATIONS, namesOf } from "../../config/axes.ts";
import { floatTensor, makeCase, type OpCase } from "./types.ts";

const KINDS = namesOf(ACTIVATIONS);

export const activationCases: readonly OpCase[] = [
  activationCase("gelu", 1, 1),
  ...KINDS.map((kind) => activationCase(kind, 7, 65)),
  ...KINDS.map((kind) => activationCase(kind, 3, 131, 20)), // where exp and tanh saturate or overflow
  activationCase("gelu", 256, 512, 1, "model"),
  activationCase("geglu", 256, 344, 1, "model"),
];

function activationCase(kind: Activation, M: number, F: number, std = 1, sizes?: OpCase["sizes"]): OpCase {
  const width = ACTIVATIONS[kind].gated ? 2 * F : F;
  // Nothing within 0.01 of 0, where the slope of ReLU jumps and finite differences say nothing.
  const map = (value: number) => std * value + 0.01 * Math.sign(value);
  const name = `${kind} M${M} F${F}${std === 1 ? "" : ` std ${std}`}`;
  return makeCase("activation", name, { kind }, [floatTensor("x", [M, width], { map })], sizes);
}
