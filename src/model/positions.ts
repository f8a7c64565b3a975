/** How a model knows where a token stands: a kind is an entry of this table. */
import { POSITIONS, rotaryDim } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import type { AttentionBias } from "../ops/attention.ts";
import { distanceBias } from "../ops/distanceBias.ts";
import { embedding } from "../ops/embedding.ts";
import { rotary } from "../ops/rotary.ts";
import { alibiSlopes, distanceBuckets, rotaryTable, sinusoidTable } from "../ops/tables.ts";
import type { ModelContext, StackInputs, Table } from "./context.ts";
import type { Parameter, StackName } from "./parameters.ts";

interface PositionKind {
  parameters(spec: ModelSpec, stack: StackName): Parameter[];
  /** @param length places that rows have */
  tables(spec: ModelSpec, stack: StackName, length: number): Table[];
  /** x (B*T, C), the embedded tokens -> (B*T, C). */
  embed(context: ModelContext, stack: StackInputs, x: Tensor): Tensor;
  /** qkv (B*T, (NH + 2 NK) HS) -> the same, queries and keys turned. */
  rotate(context: ModelContext, stack: StackInputs, qkv: Tensor): Tensor;
  /** What is added to the scores of self-attention, in all layers of a stack. */
  bias(context: ModelContext, stack: StackInputs): AttentionBias | null;
}

const none: PositionKind = {
  parameters: () => [],
  tables: () => [],
  embed: (_context, _stack, x) => x,
  rotate: (_context, _stack, qkv) => qkv,
  bias: () => null,
};

const rotaryKind: PositionKind = {
  ...none,
  tables: (spec, stack, length) => [{
    name: `${stack}rotary`, // (length, rotated dimensions)
    shape: [length, rotaryDim(spec, spec.headDim)],
    dtype: "f32",
    values: () => rotaryTable(length, rotaryDim(spec, spec.headDim), spec.rotaryBase),
  }],
  rotate: ({ graph, spec, table }, { name, places }, qkv) =>
    rotary(graph, qkv, places.ids, table(`${name}rotary`), {
      numHeads: spec.numHeads + spec.numKvHeads,
      headDim: spec.headDim,
      rotaryDim: rotaryDim(spec, spec.headDim),
      interleaved: POSITIONS[spec.positions].pairs === "neighbours",
    }),
};

export const positionKinds: Readonly<Record<ModelSpec["positions"], PositionKind>> = {
  none,
  learned: {
    ...none,
    parameters: ({ seqLen, modelDim }, stack) => [{ name: `${stack}pos_emb`, shape: [seqLen, modelDim] }],
    embed: ({ graph, parameter }, { name, places }, x) =>
      add(graph, x, embedding(graph, places, parameter(`${name}pos_emb`))),
  },
  sinusoidal: {
    ...none,
    tables: ({ modelDim }, stack, length) => [{
      name: `${stack}sinusoids`, // (length, C)
      shape: [length, modelDim],
      dtype: "f32",
      values: () => sinusoidTable(length, modelDim),
    }],
    embed: ({ graph, table }, { name, places }, x) =>
      add(graph, x, embedding(graph, places, table(`${name}sinusoids`))),
  },
  rotary: rotaryKind,
  rotaryInterleaved: rotaryKind,
  alibi: {
    ...none,
    tables: ({ numHeads }, stack) => [
      { name: `${stack}slopes`, shape: [numHeads], dtype: "f32", values: () => alibiSlopes(numHeads) },
    ],
    bias: ({ table }, { name }) => ({ kind: "alibi", slopes: table(`${name}slopes`) }),
  },
  t5: {
    ...none,
    parameters: ({ t5NumBuckets, numHeads }, stack) => [
      { name: `${stack}rel_bias`, shape: [t5NumBuckets, numHeads] },
    ],
    tables: ({ t5NumBuckets: numBuckets, t5MaxDistance: maxDistance }, stack) => [{
      name: `${stack}buckets`,
      shape: [2 * maxDistance + 1],
      dtype: "u32",
      values: () => distanceBuckets({ numBuckets, maxDistance, bidirectional: stack === "encoder." }),
    }],
    bias: ({ graph, parameter, table }, { name }) =>
      distanceBias(graph, parameter(`${name}rel_bias`), table(`${name}buckets`)),
  },
};

/** The constants of a model whose rows have up to `length` tokens. */
export function positionTables(spec: ModelSpec, length: number): Table[] {
  const { tables } = positionKinds[spec.positions];
  return [
    ...(spec.numEncoderLayers > 0 ? tables(spec, "encoder.", length) : []),
    ...tables(spec, "", length),
  ];
}
