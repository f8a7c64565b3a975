import { isGated, type ModelSpec } from "../config/derive.ts";
import { positionKinds } from "./positions.ts";

/** A parameter's name and shape; matrices are (out, in). */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Letters in shape comments: V vocabSize, C modelDim, F ffnDim, NH numHeads, NK numKvHeads, HS headDim. */
export function modelParameters(spec: ModelSpec): Parameter[] {
  const { numLayers, modelDim: C, vocabSize: V, ffnDim: F, numHeads: NH, numKvHeads: NK, headDim: HS } = spec;
  const linear = (name: string, out: number, input: number): Parameter[] => [
    { name: `${name}.weight`, shape: [out, input] },
    ...(spec.bias ? [{ name: `${name}.bias`, shape: [out] }] : []),
  ];
  const norm = (name: string): Parameter[] => [
    { name: `${name}.weight`, shape: [C] },
    ...(spec.bias && spec.norm === "layernorm" ? [{ name: `${name}.bias`, shape: [C] }] : []),
  ];
  const blocks = Array.from({ length: numLayers }, (_, i) => [
    ...norm(`blocks.${i}.norm1`),
    ...linear(`blocks.${i}.attn.qkv`, (NH + 2 * NK) * HS, C), // query heads, key heads, value heads
    ...linear(`blocks.${i}.attn.out`, C, NH * HS),
    ...norm(`blocks.${i}.norm2`),
    ...linear(`blocks.${i}.mlp.up`, isGated(spec.activation) ? 2 * F : F, C),
    ...linear(`blocks.${i}.mlp.down`, C, F),
  ]);
  return [
    { name: "tok_emb", shape: [V, C] },
    ...positionKinds[spec.positions].parameters(spec),
    ...blocks.flat(),
    ...norm("final_norm"),
    ...(spec.tied ? [] : [{ name: "head.weight", shape: [V, C] }]),
  ];
}

/** Weight decay applies to parameters with two dimensions: not to biases and norms. */
export function decays(shape: readonly number[]): boolean {
  return shape.length > 1;
}
