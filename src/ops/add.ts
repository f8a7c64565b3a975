import addText from "../../shaders/add.wgsl" with { type: "text" };
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("add.wgsl", addText);

/** Residual add: a + b, both (M, C). */
export function add(graph: Graph, a: Tensor, b: Tensor): Tensor {
  const out = graph.tensor(`${a.name} + ${b.name}`, a.shape); // (M, C)
  const C = width(a);
  forRows(graph, a.shape[0], { widths: [C], live: true }, ({ from, to, uniforms, groups, wholeGroups }) => {
    const VEC = wholeGroups(C);
    graph.dispatch(source.kernel({ BINARY: true, ACC: false, LIVE: true, VEC }), {
      tensors: { a: a.rows(from, to), b: b.rows(from, to), out: out.rows(from, to) },
      uniforms: { ...uniforms, width: C },
      groups: groups(C, VEC ? 256 : 64),
      flops: (to - from) * C,
    });
  });
  graph.onBackward(out, (gradient) => {
    graph.passOn(a, gradient);
    graph.passOn(b, gradient);
  });
  return out;
}

/** target += values (or = values, where the target is new); both (M, C), M tokens. */
export function addInto(recorder: Recorder, { tensor, accumulate }: GradientTarget, values: Tensor): void {
  addRows(recorder, tensor, values, accumulate, true);
}

/** sum += values for flat tensors that are no tokens' rows: gradient arenas. */
export function addAll(recorder: Recorder, sum: Tensor, values: Tensor): void {
  addRows(recorder, sum, values, 1, false);
}

function addRows(recorder: Recorder, out: Tensor, a: Tensor, accumulate: number, live: boolean): void {
  const C = width(out);
  forRows(recorder, out.shape[0], { widths: [C], live }, ({ from, to, uniforms, groups, wholeGroups }) => {
    const VEC = wholeGroups(C);
    recorder.dispatch(source.kernel({ BINARY: false, ACC: accumulate, LIVE: live, VEC }), {
      tensors: { a: a.rows(from, to), out: out.rows(from, to) },
      uniforms: { ...uniforms, width: C },
      groups: groups(C, VEC ? 256 : 64),
      flops: accumulate * (to - from) * C,
    });
  });
}
