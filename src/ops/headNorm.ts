import headNormText from "../../shaders/head_norm.wgsl" with { type: "text" };
import headNormWeightText from "../../shaders/head_norm_weight.wgsl" with { type: "text" };
import type { Tensor } from "../gpu/tensor.ts";
import { sumColumns } from "./columns.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("head_norm.wgsl", headNormText);
const weightSource = shader("head_norm_weight.wgsl", headNormWeightText);

/** Heads side by side that share a weight. */
export interface HeadRun {
  readonly numHeads: number;
  /** (HS) */
  readonly weight: Tensor;
}

/**
 * RMS norm of each head (QK-norm: Dehghani et al. 2023, in the form of Qwen 3). The runs follow one another from the
 * first column on; heads behind them (values) are copied.
 *
 * @param x (M, heads * HS), M tokens
 * @returns (M, heads * HS)
 *
 * @example
 * ```ts
 * const runs = [{ numHeads: NH, weight: queryWeight }, { numHeads: NK, weight: keyWeight }];
 * const normed = headNorm(graph, qkv, runs, 1e-5); // (M, (NH + 2 NK) HS)
 * ```
 */
export function headNorm(graph: Graph, x: Tensor, runs: readonly HeadRun[], eps: number): Tensor {
  const M = x.shape[0];
  const W = width(x);
  const HS = runs[0].weight.size;
  const heads = W / HS;
  const ends = runs.map((_, r) => runs.slice(0, r + 1).reduce((sum, { numHeads }) => sum + numHeads, 0));
  const normed = ends.at(-1)!;
  if (!Number.isInteger(heads) || normed > heads || runs.some(({ weight }) => weight.size !== HS)) {
    throw new Error(`Rows of ${W} don't hold ${normed} heads of ${HS} and whole heads behind them`);
  }
  const y = graph.tensor(`normed ${x.name}`, x.shape); // (M, heads * HS)
  const scales = graph.tensor(`${y.name} scales`, [M, normed]); // (M, normed) 1 / root mean square
  const VEC = HS % 4 === 0;
  const cut = graph.limits.isSoftware ? { LANES: 1, ROWS: 8, VEC } : { LANES: 32, ROWS: 4, VEC: false };
  const constants = { RUNS: runs.length, LIVE: true, ...cut };
  const options = { widths: [W], live: true };
  const sizes = { heads, width: HS };
  const weights = Object.fromEntries(runs.map(({ weight }, r) => [`weight${r}`, weight]));
  const endOf = Object.fromEntries(ends.map((end, r) => [`end${r}`, end]));

  const forward = source.kernel({ ...constants, BACKWARD: false, ACC: false });
  forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
    graph.dispatch(forward, {
      tensors: { x: x.rows(from, to), ...weights, y: y.rows(from, to), scales: scales.rows(from, to) },
      uniforms: { ...uniforms, ...sizes, ...endOf, eps },
      groups: groups(heads, cut.ROWS),
      flops: 4 * (to - from) * normed * HS,
    });
  });
  graph.onBackward(y, (dy) => {
    const dx = graph.target(x);
    if (dx !== null) {
      const backward = source.kernel({ ...constants, BACKWARD: true, ACC: dx.accumulate });
      forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
        graph.dispatch(backward, {
          tensors: {
            x: x.rows(from, to),
            ...weights,
            dy: dy.rows(from, to),
            scales: scales.rows(from, to),
            dx: dx.tensor.rows(from, to),
          },
          uniforms: { ...uniforms, ...sizes, ...endOf },
          groups: groups(heads, cut.ROWS),
          flops: 9 * (to - from) * normed * HS,
        });
      });
    }
    runs.forEach(({ weight, numHeads }, r) => {
      const target = graph.target(weight);
      if (target === null) return;
      const byRow = graph.tensor(`grad ${weight.name} by row`, [M, HS]); // (M, HS)
      forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
        graph.dispatch(weightSource.kernel({ VEC, LIVE: true }), {
          tensors: {
            dy: dy.rows(from, to),
            x: x.rows(from, to),
            scales: scales.rows(from, to),
            out: byRow.rows(from, to),
          },
          uniforms: { ...uniforms, ...sizes, first: ends[r] - numHeads, end: ends[r], normed },
          groups: groups(HS, VEC ? 256 : 64),
          flops: 3 * (to - from) * numHeads * HS,
        });
      });
      sumColumns(graph, byRow, target);
    });
  });
  return y;
}
