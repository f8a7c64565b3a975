import crossEntropyText from "../../shaders/cross_entropy.wgsl" with { type: "text" };
import lossSumText from "../../shaders/loss_sum.wgsl" with { type: "text" };
import { ALIGNMENT, type Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { matmul, matrix, rowsOf, transposed } from "./matmul.ts";
import { forRows, shader } from "./rowwise.ts";
import { softCap } from "./softCap.ts";

const rowSource = shader("cross_entropy.wgsl", crossEntropyText);
const sumSource = shader("loss_sum.wgsl", lossSumText);

/** Logits that are held at once, unless an eighth of the rows has more. */
const LOGITS_AT_ONCE = 2 ** 20;

export interface LossTensors {
  /** (M) target of each token, i32; negative: none. */
  readonly targets: Tensor;
  /** (M, 2) cross entropy and lse^2 of each token. */
  readonly losses: Tensor;
  /** (4) grows by the sums of both and by the number of targets; null: they are not wanted. */
  readonly sums: Tensor | null;
}

export interface LossOptions {
  readonly zLoss: number;
  /** See `softCap()`. null: logits are as they are. */
  readonly logitSoftCap: number | null;
}

/**
 * The head and its loss, a few rows at a time: all logits (M, V) never exist. While training, the gradients of x and
 * of the weight follow at once from the same logits, since they are gradients of the plain sum of the losses.
 *
 * @param x (M, C), M tokens
 * @param weight (V, C), the head without bias
 */
export function crossEntropy(
  graph: Graph,
  x: Tensor,
  weight: Tensor,
  loss: LossTensors,
  { zLoss, logitSoftCap: cap }: LossOptions,
): void {
  const M = x.shape[0];
  const V = weight.shape[0];
  const fits = Math.floor((graph.limits.maxBinding - ALIGNMENT) / (4 * V));
  if (fits < 1) {
    throw new RangeError(`A row of ${V} logits does not fit a binding of ${graph.limits.maxBinding} bytes`);
  }
  const wanted = Math.max(Math.ceil(LOGITS_AT_ONCE / V), Math.ceil(M / 8));
  const chunk = Math.min(M, fits, Math.ceil(wanted / 8) * 8);
  const logits = graph.tensor("logits", [chunk, V]); // (chunk, V)
  const head = matrix(weight);
  const turned = transposed(graph, head);
  const dx = graph.training ? graph.target(x) : null;
  const dWeight = graph.training ? graph.target(weight) : null;
  const cut = graph.limits.isSoftware ? { LANES: 1, ROWS: 8 } : { LANES: 32, ROWS: 4 };
  const kernel = rowSource.kernel({ LIVE: true, GRADIENT: graph.training, ...cut });
  for (let from = 0; from < M; from += chunk) {
    const rows = Math.min(chunk, M - from);
    const live = { dimension: "m", row0: from } as const;
    const part = rowsOf(matrix(logits), 0, rows);
    matmul(graph, { out: part, a: rowsOf(matrix(x), from, from + rows), b: turned, live });
    if (cap !== null) softCap(graph, logits, cap, { rows, row0: from });
    graph.dispatch(kernel, {
      tensors: {
        targets: loss.targets.rows(from, from + rows),
        logits: logits.rows(0, rows),
        losses: loss.losses.rows(from, from + rows),
      },
      uniforms: { row0: from, rows, width: V, z_loss: zLoss, inverse_cap: cap === null ? 0 : 1 / cap },
      groups: (now) => Math.ceil(Math.min(rows, Math.max((now.rows ?? 0) - from, 0)) / cut.ROWS),
      flops: 8 * rows * V,
    });
    if (dx !== null) {
      // (rows, V) (V, C) -> (rows, C)
      matmul(graph, {
        out: rowsOf(matrix(dx.tensor), from, from + rows),
        a: part,
        b: head,
        accumulate: dx.accumulate,
        live,
      });
    }
    if (dWeight !== null) {
      // (rows, V)^T (rows, C) -> (V, C)
      matmul(graph, {
        out: matrix(dWeight.tensor),
        a: part,
        b: rowsOf(matrix(x), from, from + rows),
        transA: true,
        accumulate: dWeight.accumulate,
        live: { dimension: "k", row0: from },
      });
    }
  }
  const { sums } = loss;
  if (sums === null) return;
  forRows(graph, M, { widths: [2], live: true, multiple: 64 }, ({ from, to, uniforms, groups }) => {
    graph.dispatch(sumSource.kernel({ LIVE: true }), {
      tensors: { targets: loss.targets.rows(from, to), losses: loss.losses.rows(from, to), sums },
      uniforms,
      groups: groups(1, to - from),
      flops: 3 * (to - from),
    });
  });
}
