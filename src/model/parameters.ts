import { ACTIVATIONS } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import { positionKinds } from "./positions.ts";

/** A parameter's name and shape; matrices are (out, in). */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The blocks of one stack; its parameters' names begin with its own. */
export type StackName = "" | "encoder.";

/** Letters in shape comments: V vocabSize, C modelDim, F ffnDim, NH numHeads, NK numKvHeads, HS headDim. */
export function modelParameters(spec: ModelSpec): Parameter[] {
  const { modelDim: C, vocabSize: V } = spec;
  return [
    { name: "tok_emb", shape: [V, C] },
    ...(spec.embeddingNorm ? norm({ ...spec, norm: "layernorm" }, "emb_norm") : []),
    ...(spec.numEncoderLayers > 0 ? stack(spec, "encoder.", spec.numEncoderLayers) : []),
    ...stack(spec, "", spec.numLayers),
    ...(spec.tied ? [] : [{ name: "head.weight", shape: [V, C] }]),
  ];
}

/** The number of weights; a tied head and a table that all layers share count once. */
export function countParameters(spec: ModelSpec): number {
  return modelParameters(spec).reduce((total, { shape }) => total + shape.reduce((a, b) => a * b), 0);
}

function stack(spec: ModelSpec, name: StackName, numLayers: number): Parameter[] {
  const { modelDim: C, ffnDim: F, numHeads: NH, numKvHeads: NK, headDim: HS } = spec;
  const hasCross = name === "" && spec.numEncoderLayers > 0;
  const blocks = Array.from({ length: numLayers }, (_, i) => {
    const block = `${name}blocks.${i}`;
    return [
      ...norm(spec, `${block}.norm1`),
      ...linear(spec, `${block}.attn.qkv`, (NH + 2 * NK) * HS, C), // query heads, key heads, value heads
      ...headNorms(spec, `${block}.attn`),
      ...linear(spec, `${block}.attn.out`, C, NH * HS),
      ...(hasCross
        ? [
          ...norm(spec, `${block}.norm_cross`),
          ...linear(spec, `${block}.cross.q`, NH * HS, C),
          ...linear(spec, `${block}.cross.kv`, 2 * NK * HS, C), // key heads, value heads
          ...headNorms(spec, `${block}.cross`),
          ...linear(spec, `${block}.cross.out`, C, NH * HS),
        ]
        : []),
      ...norm(spec, `${block}.norm2`),
      ...linear(spec, `${block}.mlp.up`, ACTIVATIONS[spec.activation].gated ? 2 * F : F, C),
      ...linear(spec, `${block}.mlp.down`, C, F),
    ];
  });
  return [
    ...positionKinds[spec.positions].parameters(spec, name),
    ...blocks.flat(),
    ...norm(spec, `${name}final_norm`),
  ];
}

function linear({ bias }: ModelSpec, name: string, out: number, input: number): Parameter[] {
  return [
    { name: `${name}.weight`, shape: [out, input] },
    ...(bias ? [{ name: `${name}.bias`, shape: [out] }] : []),
  ];
}

function norm({ bias, norm, modelDim: C }: ModelSpec, name: string): Parameter[] {
  const hasBias = bias && norm === "layernorm";
  return [{ name: `${name}.weight`, shape: [C] }, ...(hasBias ? [{ name: `${name}.bias`, shape: [C] }] : [])];
}

function headNorms({ qkNorm, headDim: HS }: ModelSpec, name: string): Parameter[] {
  return qkNorm ? ["q_norm", "k_norm"].map((part) => ({ name: `${name}.${part}.weight`, shape: [HS] })) : [];
}

/** Weight decay applies to parameters with two dimensions: not to biases and norms. */
export function decays(shape: readonly number[]): boolean {
  return shape.length > 1;
}
