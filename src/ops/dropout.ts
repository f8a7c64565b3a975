import dropoutText from "../../shaders/dropout.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("dropout.wgsl", dropoutText);

/** Where a dropout gets its random numbers from; the step comes with each run of the program. */
export interface DropoutKey {
  readonly seed: number;
  /** A number for each place in the model. */
  readonly site: number;
  /** (B) index of each row's sample, u32. */
  readonly samples: Tensor;
}

/** Uniforms of `dropout_factor` in random.wgsl. */
export function dropoutUniforms(rate: number, { seed, site }: DropoutKey) {
  return { seed, site, threshold: Math.floor(rate * 2 ** 32), scale: 1 / (1 - rate) };
}

/** x (M, C), M tokens -> (M, C). With rate 0 it is x itself. */
export function dropout(graph: Graph, x: Tensor, rate: number, key: DropoutKey): Tensor {
  if (rate === 0) return x;
  const y = graph.tensor(`dropout ${x.name}`, x.shape); // (M, C)
  drop(graph, x, { tensor: y, accumulate: 0 }, rate, key);
  graph.onBackward(y, (dy) => {
    const dx = graph.target(x);
    if (dx !== null) drop(graph, dy, dx, rate, key);
  });
  return y;
}

function drop(graph: Graph, x: Tensor, out: GradientTarget, rate: number, key: DropoutKey): void {
  const C = width(x);
  const kernel = source.kernel({ ACC: out.accumulate, LIVE: true });
  forRows(graph, x.shape[0], { widths: [C], live: true }, ({ from, to, uniforms, groups }) => {
    graph.dispatch(kernel, {
      tensors: { x: x.rows(from, to), samples: key.samples, y: out.tensor.rows(from, to) },
      uniforms: { ...uniforms, width: C, ...dropoutUniforms(rate, key) },
      groups: groups(C, 64),
      flops: (to - from) * C,
    });
  });
}
