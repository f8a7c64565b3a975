import normText from "../../shaders/norm.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import { sumColumns } from "./columns.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("norm.wgsl", normText);

export type NormKind = "layernorm" | "rmsnorm";

/**
 * LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019) of each row.
 *
 * @param x (M, C), M tokens
 * @param weight (C)
 * @param bias (C), or null; an RMSNorm has none
 * @returns (M, C)
 */
export function norm(
  graph: Graph,
  kind: NormKind,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  eps: number,
): Tensor {
  const M = x.shape[0];
  const C = width(x);
  const y = graph.tensor(weight.name.replace(/\.weight$/, ""), x.shape); // (M, C)
  const stats = graph.tensor(`${y.name} stats`, [M, 2]); // (M, 2) mean, 1 / deviation
  const cut = graph.limits.isSoftware
    ? { LANES: 1, ROWS: 8, VEC: C % 4 === 0 }
    : { LANES: 32, ROWS: 4, VEC: false };
  const constants = { KIND: kind, LIVE: true, ...cut };
  const options = { widths: [C, 2], live: true };
  const forward = source.kernel({ ...constants, BACKWARD: false, BIAS: bias !== null, ACC: false });
  forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
    graph.dispatch(forward, {
      tensors: {
        x: x.rows(from, to),
        weight,
        ...(bias ? { bias } : {}),
        y: y.rows(from, to),
        stats: stats.rows(from, to),
      },
      uniforms: { ...uniforms, width: C, eps },
      groups: groups(1, cut.ROWS),
      flops: 8 * (to - from) * C,
    });
  });
  graph.onBackward(y, (dy) => {
    const dx = graph.target(x);
    if (dx !== null) {
      const backward = source.kernel({ ...constants, BACKWARD: true, BIAS: false, ACC: dx.accumulate });
      forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
        graph.dispatch(backward, {
          tensors: {
            x: x.rows(from, to),
            weight,
            dy: dy.rows(from, to),
            stats: stats.rows(from, to),
            dx: dx.tensor.rows(from, to),
          },
          uniforms: { ...uniforms, width: C },
          groups: groups(1, cut.ROWS),
          flops: 14 * (to - from) * C,
        });
      });
    }
    sumColumns(graph, dy, bias && graph.target(bias), graph.target(weight), { x, stats });
  });
  return y;
}
