/** How a model knows where a token stands: a kind is an entry of this table. */
import type { ModelSpec } from "../config/derive.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Graph } from "../ops/graph.ts";
import { positions } from "../ops/positions.ts";
import type { Parameter } from "./parameters.ts";

interface PositionKind {
  parameters(spec: ModelSpec): Parameter[];
  /** The longest row; null: any. */
  maxColumns(spec: ModelSpec): number | null;
  /** x (B*T, C), the embedded tokens -> (B*T, C). */
  embed(graph: Graph, x: Tensor, parameter: (name: string) => Tensor): Tensor;
}

export const positionKinds: Readonly<Record<ModelSpec["positions"], PositionKind>> = {
  none: {
    parameters: () => [],
    maxColumns: () => null,
    embed: (_graph, x) => x,
  },
  learned: {
    parameters: ({ seqLen, modelDim }) => [{ name: "pos_emb", shape: [seqLen, modelDim] }],
    maxColumns: ({ seqLen }) => seqLen,
    embed: (graph, x, parameter) => positions(graph, x, parameter("pos_emb")),
  },
};
