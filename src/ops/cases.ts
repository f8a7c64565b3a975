/**
 * The ops by example: one table of cases that the tests, `deno task verify` and the benchmark share, and the f64
 * references that say what must come out.
 */
import { adafactorCases } from "./cases/adafactor.ts";
import { activationCases } from "./cases/activation.ts";
import { addCases } from "./cases/add.ts";
import { attentionCases } from "./cases/attention.ts";
import { crossEntropyCases } from "./cases/crossEntropy.ts";
import { dropoutCases } from "./cases/dropout.ts";
import { embeddingCases } from "./cases/embedding.ts";
import { headNormCases } from "./cases/headNorm.ts";
import { linearCases } from "./cases/linear.ts";
import { layerNormCases, rmsNormCases } from "./cases/norms.ts";
import { adamwCases, gradNormCases } from "./cases/optimizer.ts";
import { scaleCases } from "./cases/scale.ts";
import { rotaryCases } from "./cases/rotary.ts";
import type { OpCase, OpName, OpTensor } from "./cases/types.ts";
import { adafactor } from "./reference/adafactor.ts";
import { activation } from "./reference/activation.ts";
import { adamw } from "./reference/adamw.ts";
import { add } from "./reference/add.ts";
import { attention } from "./reference/attention.ts";
import { crossEntropy } from "./reference/crossEntropy.ts";
import { dropout } from "./reference/dropout.ts";
import { embedding } from "./reference/embedding.ts";
import { gradNorm } from "./reference/gradNorm.ts";
import { headNorm } from "./reference/headNorm.ts";
import { linear } from "./reference/linear.ts";
import { layerNorm, rmsNorm } from "./reference/norm.ts";
import { scale } from "./reference/scale.ts";
import { rotary } from "./reference/rotary.ts";
import type { Inputs, OpReference } from "./reference/types.ts";

export type { OpCase, OpName, OpTensor } from "./cases/types.ts";
export type { Inputs, OpReference } from "./reference/types.ts";

/** What each op computes, and its gradient, on the CPU in f64. */
export const references: Record<OpName, OpReference> = {
  embedding,
  scale,
  rotary,
  linear,
  layerNorm,
  rmsNorm,
  headNorm,
  activation,
  add,
  dropout,
  attention,
  crossEntropy,
  gradNorm,
  adamw,
  adafactor,
};

export const opCases: readonly OpCase[] = [
  ...embeddingCases,
  ...scaleCases,
  ...rotaryCases,
  ...linearCases,
  ...layerNormCases,
  ...rmsNormCases,
  ...headNormCases,
  ...activationCases,
  ...addCases,
  ...dropoutCases,
  ...attentionCases,
  ...crossEntropyCases,
  ...gradNormCases,
  ...adamwCases,
  ...adafactorCases,
];

/**
 * A case's tensors as its reference takes them: floats in f64.
 *
 * @example
 * ```ts
 * const [opCase] = opCases;
 * const out = references[opCase.op].forward(referenceInputs(opCase.tensors()), opCase.options);
 * ```
 */
export function referenceInputs(tensors: readonly OpTensor[]): Inputs {
  return Object.fromEntries(tensors.map(({ name, shape, values }) => {
    return [name, { shape, values: values instanceof Float32Array ? Float64Array.from(values) : values }];
  }));
}
