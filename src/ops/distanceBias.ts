import biasText from "../../shaders/distance_bias.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { shader } from "./rowwise.ts";

const source = shader("distance_bias.wgsl", biasText);

/** A learned bias of scores that depends on the distance of query and key alone, T5's relative positions. */
export interface DistanceBias {
  readonly kind: "table";
  /** (buckets, NH) learned. */
  readonly table: Tensor;
  /** (2 reach + 1) u32: the bucket of the distance i - j, which is held within -reach and reach. */
  readonly buckets: Tensor;
  /** (NH, 2 reach + 1) the bias of each distance. */
  readonly distances: Tensor;
  readonly reach: number;
}

/**
 * Spreads a table of buckets over distances. Its gradient is written by the attentions that use it.
 *
 * @param table (buckets, NH)
 * @param buckets (2 reach + 1) u32
 */
export function distanceBias(graph: Graph, table: Tensor, buckets: Tensor): DistanceBias {
  const NH = table.shape[1];
  const count = buckets.size;
  const distances = graph.tensor(`${table.name} by distance`, [NH, count]);
  graph.dispatch(source.kernel(), {
    tensors: { table, buckets, out: distances },
    uniforms: { NH, distances: count },
    groups: Math.ceil(NH * count / 64),
  });
  return { kind: "table", table, buckets, distances, reach: (count - 1) / 2 };
}
