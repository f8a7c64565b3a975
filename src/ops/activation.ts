import activationText from "../../shaders/activation.wgsl" with { type: "text" };
import { type Activation, ACTIVATIONS } from "../config/axes.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("activation.wgsl", activationText);

/** x (M, F), or (M, 2F) where gated -> (M, F). */
export function activation(graph: Graph, x: Tensor, name: Activation): Tensor {
  const { curve, gated } = ACTIVATIONS[name];
  const inWidth = width(x);
  const F = gated ? inWidth / 2 : inWidth;
  const y = graph.tensor(`${name}(${x.name})`, [x.shape[0], F]); // (M, F)
  const constants = { KIND: curve, GATED: gated, LIVE: true };
  const options = { widths: [inWidth], live: true };
  forRows(graph, x.shape[0], options, ({ from, to, uniforms, groups, wholeGroups }) => {
    const VEC = !gated && wholeGroups(F);
    graph.dispatch(source.kernel({ ...constants, BACKWARD: false, ACC: false, VEC }), {
      tensors: { x: x.rows(from, to), y: y.rows(from, to) },
      uniforms: { ...uniforms, width: F },
      groups: groups(F, VEC ? 256 : 64),
      flops: 10 * (to - from) * F,
    });
  });
  graph.onBackward(y, (dy) => {
    const target = graph.target(x);
    if (target === null) return;
    forRows(graph, x.shape[0], options, ({ from, to, uniforms, groups, wholeGroups }) => {
      const VEC = !gated && wholeGroups(F);
      graph.dispatch(source.kernel({ ...constants, BACKWARD: true, ACC: target.accumulate, VEC }), {
        tensors: { x: x.rows(from, to), dy: dy.rows(from, to), dx: target.tensor.rows(from, to) },
        uniforms: { ...uniforms, width: F },
        groups: groups(F, VEC ? 256 : 64),
        flops: 20 * (to - from) * F,
      });
    });
  });
  return y;
}
