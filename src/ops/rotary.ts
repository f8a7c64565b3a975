import rotaryText from "../../shaders/rotary.wgsl" with { type: "text" };
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const source = shader("rotary.wgsl", rotaryText);

export interface RotaryOptions {
  /** Heads that are turned, from the first column on: of queries, of keys, or of both. */
  readonly numHeads: number;
  readonly headDim: number;
  /** Dimensions of each head that are turned, from the first on; an even number. */
  readonly rotaryDim: number;
  /** Pairs are (2k, 2k + 1), as in GPT-J; else (k, k + rotaryDim / 2), as in GPT-NeoX and LLaMA. */
  readonly interleaved: boolean;
}

/**
 * Rotary positions (Su et al. 2021): turns pairs of dimensions by angles that grow with the token's place. Columns
 * behind the heads (value heads) are copied, and so are the dimensions that are not turned.
 *
 * @param x (B*T, W), W >= numHeads * headDim
 * @param places (B*T) u32, below S
 * @param table (S, rotaryDim), see `rotaryTable()`
 * @returns (B*T, W)
 */
export function rotary(
  graph: Graph,
  x: Tensor,
  places: Tensor,
  table: Tensor,
  options: RotaryOptions,
): Tensor {
  const { rotaryDim, headDim } = options;
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim || width(table) !== rotaryDim) {
    throw new Error(`Can't turn ${rotaryDim} of ${headDim} dimensions by a table of ${width(table)} columns`);
  }
  const y = graph.tensor(`rotary ${x.name}`, x.shape); // (B*T, W)
  const turn = (input: Tensor, out: GradientTarget, direction: 1 | -1) =>
    turnHeads(graph, input, out, { places, table }, direction, options);
  turn(x, { tensor: y, accumulate: 0 }, 1);
  graph.onBackward(y, (dy) => {
    const dx = graph.target(x);
    if (dx !== null) turn(dy, dx, -1);
  });
  return y;
}

function turnHeads(
  graph: Graph,
  x: Tensor,
  out: GradientTarget,
  { places, table }: { places: Tensor; table: Tensor },
  direction: 1 | -1,
  { numHeads, headDim, rotaryDim, interleaved }: RotaryOptions,
): void {
  const W = width(x);
  const VEC = [W, headDim, interleaved ? rotaryDim : rotaryDim / 2].every((size) => size % 4 === 0);
  const constants = { INTERLEAVED: interleaved, ACC: out.accumulate, VEC, LIVE: true };
  const tableWindows = rowWindows(table.shape[0], graph.limits, [rotaryDim]);
  forRows(graph, x.shape[0], { widths: [W], live: true }, ({ from, to, uniforms, groups }) => {
    tableWindows.forEach((part, i) => {
      graph.dispatch(source.kernel({ ...constants, PART: i > 0 }), {
        tensors: {
          x: x.rows(from, to),
          places: places.rows(from, to),
          table: table.rows(part.from, part.to),
          y: out.tensor.rows(from, to),
        },
        uniforms: {
          ...uniforms,
          width: W,
          columns: numHeads * headDim,
          head_dim: headDim,
          turned: rotaryDim,
          place0: part.from,
          table_rows: part.to - part.from,
          direction,
        },
        groups: groups(W, VEC ? 256 : 64),
        flops: 3 * (to - from) * numHeads * rotaryDim,
      });
    });
  });
}
