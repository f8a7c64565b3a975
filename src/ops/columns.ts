import columnsText from "../../shaders/columns.wgsl" with { type: "text" };
import type { Live } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("columns.wgsl", columnsText);

/** Rows whose gradients are summed in one chain before the blocks are: part of the canonical order. */
const BLOCK = 64;

/** What the sum for a norm's weight needs beside dy: x (M, C) and its rows' (mean, 1/deviation) (M, 2). */
export interface NormInputs {
  readonly x: Tensor;
  readonly stats: Tensor;
}

/**
 * Adds the sums of dy's columns to `plain` (bias gradients), and of dy * normalised x to `scaled` (a norm's weight).
 *
 * @param dy (M, C), M tokens
 */
export function sumColumns(
  graph: Graph,
  dy: Tensor,
  plain: GradientTarget | null,
  scaled: GradientTarget | null = null,
  norm: NormInputs | null = null,
): void {
  if (plain === null && scaled === null) return;
  const C = width(dy);
  const VEC = C % 4 === 0;
  const constants = { BLOCK, LIVE: true, VEC };
  const across = Math.ceil(C / (VEC ? 256 : 64));
  const targets = [plain, scaled];
  const blocksConstants = { ...constants, STEP: "blocks", NORM: scaled !== null, PLAIN: plain !== null };
  const totalKernel = source.kernel({
    ...constants,
    STEP: "total",
    NORM: false,
    PLAIN: false,
    GOES_ON: false,
  });
  let begun: { first: number; sums: (Tensor | null)[] } = { first: 0, sums: [] };
  forRows(graph, dy.shape[0], { widths: [C], live: true, multiple: BLOCK }, ({ from, to, uniforms }) => {
    // A window holds whole blocks or, where BLOCK rows don't fit, goes on with the block that the last one began.
    const GOES_ON = from % BLOCK !== 0;
    if (!GOES_ON) {
      const shape = [Math.ceil((to - from) / BLOCK), C]; // (blocks, C)
      begun = { first: from, sums: targets.map((target) => target && graph.tensor("column sums", shape)) };
    }
    const { first, sums } = begun;
    const inUse = (live: Live, start: number) => Math.min(to - start, Math.max((live.rows ?? 0) - start, 0));
    graph.dispatch(source.kernel({ ...blocksConstants, GOES_ON }), {
      tensors: {
        dy: dy.rows(from, to),
        ...(sums[0] ? { partial: sums[0] } : {}),
        ...(sums[1] && norm
          ? { x: norm.x.rows(from, to), stats: norm.stats.rows(from, to), scaled: sums[1] }
          : {}),
      },
      uniforms: { ...uniforms, width: C },
      groups: (live) => Math.ceil(inUse(live, from) / BLOCK) * across,
      flops: (to - from) * C * (scaled ? 4 : 1),
    });
    if (to % BLOCK !== 0 && to !== dy.shape[0]) return;
    targets.forEach((target, i) => {
      const partial = sums[i];
      if (target === null || partial === null) return;
      graph.dispatch(totalKernel, {
        tensors: { partial, out: target.tensor },
        uniforms: { row0: first, rows: to - first, width: C },
        groups: (live) => inUse(live, first) > 0 ? across : 0,
        flops: partial.size,
      });
    });
  });
}
