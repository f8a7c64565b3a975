import type { Tensor } from "../gpu/tensor.ts";
import { sumColumns } from "./columns.ts";
import type { Graph } from "./graph.ts";
import { matmul, matrix } from "./matmul.ts";

/**
 * y = x W^T + b.
 *
 * @param x (M, K), M tokens
 * @param weight (N, K)
 * @param bias (N), or null
 * @param y where to write; by default a tensor of its own
 * @returns y (M, N)
 */
export function linear(
  graph: Graph,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  y: Tensor = graph.tensor(weight.name.replace(/\.weight$/, ""), [x.shape[0], weight.shape[0]]),
): Tensor {
  matmul(graph, {
    out: matrix(y),
    a: matrix(x),
    b: matrix(weight),
    transB: true,
    bias,
    live: { dimension: "m", row0: 0 },
  });
  graph.onBackward(y, (dy) => {
    const dx = graph.target(x);
    if (dx !== null) {
      // (M, N) (N, K) -> (M, K)
      matmul(graph, {
        out: matrix(dx.tensor),
        a: matrix(dy),
        b: matrix(weight),
        accumulate: dx.accumulate,
        live: { dimension: "m", row0: 0 },
      });
    }
    const dWeight = graph.target(weight);
    if (dWeight !== null) {
      // (M, N)^T (M, K) -> (N, K)
      matmul(graph, {
        out: matrix(dWeight.tensor),
        a: matrix(dy),
        b: matrix(x),
        transA: true,
        accumulate: dWeight.accumulate,
        live: { dimension: "k", row0: 0 },
      });
    }
    if (bias !== null) sumColumns(graph, dy, graph.target(bias));
  });
  return y;
}
