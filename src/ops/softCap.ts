import softCapText from "../../shaders/soft_cap.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("soft_cap.wgsl", softCapText);

/**
 * logits (M, V) become cap * tanh(logits / cap), in place. It has no backward of its own: that is part of the loss's.
 *
 * @param rows of `logits` that are meant; the first of them is row `row0` of the micro-batch
 */
export function softCap(
  graph: Graph,
  logits: Tensor,
  cap: number,
  { rows = logits.shape[0], row0 = 0 } = {},
): void {
  const V = width(logits);
  forRows(graph, rows, { widths: [V], live: true, row0 }, ({ from, to, uniforms, groups }) => {
    graph.dispatch(source.kernel({ LIVE: true }), {
      tensors: { x: logits.rows(from, to) },
      uniforms: { ...uniforms, width: V, cap },
      groups: groups(V, 64),
      flops: 15 * (to - from) * V,
    });
  });
}
