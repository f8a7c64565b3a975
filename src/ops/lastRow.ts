import lastRowText from "../../shaders/last_row.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { shader, width } from "./rowwise.ts";

const source = shader("last_row.wgsl", lastRowText);

/** Row `live.last` of x (M, C) -> (1, C); no backward. */
export function lastRow(graph: Graph, x: Tensor): Tensor {
  const C = width(x);
  const y = graph.tensor("last row", [1, C]); // (1, C)
  graph.dispatch(source.kernel(), { tensors: { x, y }, uniforms: { width: C }, groups: Math.ceil(C / 64) });
  return y;
}
