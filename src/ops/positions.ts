import positionsText from "../../shaders/positions.wgsl" with { type: "text" };
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("positions.wgsl", positionsText);

/**
 * Adds learned positions: x + table[start + t].
 *
 * @param x (B*T, C)
 * @param table (S, C), S >= start + T
 * @returns (B*T, C)
 */
export function positions(graph: Graph, x: Tensor, table: Tensor): Tensor {
  const C = width(x);
  const y = graph.tensor(`${x.name} + positions`, x.shape); // (B*T, C)
  const tableWindows = rowWindows(table.shape[0], graph.limits, [C]);
  const options = { widths: [C], live: true };
  forRows(graph, x.shape[0], options, ({ from, to, uniforms, groups }) => {
    tableWindows.forEach((part, i) => {
      graph.dispatch(source.kernel({ BACKWARD: false, PART: i > 0, LIVE: true }), {
        tensors: { x: x.rows(from, to), table: table.rows(part.from, part.to), y: y.rows(from, to) },
        uniforms: { ...uniforms, width: C, position0: part.from, positions: part.to - part.from },
        groups: groups(C, 64),
        flops: (to - from) * C,
      });
    });
  });
  graph.onBackward(y, (dy) => {
    const target = graph.target(table);
    if (target !== null) {
      const kernel = source.kernel({ BACKWARD: true, PART: false, LIVE: true });
      forRows(graph, x.shape[0], options, ({ from, to, uniforms }) => {
        for (const part of tableWindows) {
          graph.dispatch(kernel, {
            tensors: { dy: dy.rows(from, to), dtable: target.tensor.rows(part.from, part.to) },
            uniforms: { ...uniforms, width: C, position0: part.from, positions: part.to - part.from },
            groups: Math.ceil((part.to - part.from) * C / 64),
            flops: (to - from) * C,
          });
        }
      });
    }
    graph.passOn(x, dy);
  });
  return y;
}
