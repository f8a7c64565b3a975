import scaleText from "../../shaders/scale.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("scale.wgsl", scaleText);

/** x (M, C) times a constant -> (M, C). */
export function scale(graph: Graph, x: Tensor, factor: number): Tensor {
  const y = graph.tensor(`${x.name} scaled`, x.shape); // (M, C)
  scaleInto(graph, x, factor, { tensor: y, accumulate: 0 });
  graph.onBackward(y, (dy) => {
    const target = graph.target(x);
    if (target !== null) scaleInto(graph, dy, factor, target);
  });
  return y;
}

function scaleInto(graph: Graph, x: Tensor, factor: number, { tensor, accumulate }: GradientTarget): void {
  const C = width(x);
  forRows(graph, x.shape[0], { widths: [C], live: true }, ({ from, to, uniforms, groups }) => {
    graph.dispatch(source.kernel({ LIVE: true, ACC: accumulate }), {
      tensors: { x: x.rows(from, to), y: tensor.rows(from, to) },
      uniforms: { ...uniforms, width: C, factor },
      groups: groups(C, 64),
      flops: (to - from) * C,
    });
  });
}
