import backwardText from "../../shaders/embedding_backward.wgsl" with { type: "text" };
import embeddingText from "../../shaders/embedding.wgsl" with { type: "text" };
import { type Arena, rowWindows, type Tensor } from "../gpu/tensor.ts";
import type { Graph } from "./graph.ts";
import { forRows, shader, width } from "./rowwise.ts";

const forwardSource = shader("embedding.wgsl", embeddingText);
const backwardSource = shader("embedding_backward.wgsl", backwardText);

/** Token ids, and the same sorted by id for the backward: inputs of a step. Places of tokens come in the same way. */
export interface TokenInputs {
  /** What says how many distinct ids there are. */
  readonly distinct: "distinct" | "distinctPlaces";
  readonly ids: Tensor; // (M)
  readonly distinctIds: Tensor; // (M), the first of them are in use
  readonly starts: Tensor; // (M + 1)
  readonly order: Tensor; // (M)
}

/** Adds the inputs of at most `tokens` tokens to an arena. */
export function tokenInputs(
  arena: Arena,
  tokens: number,
  distinct: TokenInputs["distinct"] = "distinct",
): TokenInputs {
  return {
    distinct,
    ids: arena.add("ids", [tokens], "u32"),
    distinctIds: arena.add("distinct ids", [tokens], "u32"),
    starts: arena.add("starts", [tokens + 1], "u32"),
    order: arena.add("order", [tokens], "u32"),
  };
}

/** Token positions sorted by id, and where each id's begin. */
export interface SortedTokens {
  readonly distinctIds: Uint32Array<ArrayBuffer>;
  readonly starts: Uint32Array<ArrayBuffer>; // one more than distinct ids
  readonly order: Uint32Array<ArrayBuffer>;
}

/** Counting sort of token positions by id; stable, so that every id's positions ascend. */
export function sortTokens(ids: Uint32Array, vocabSize: number): SortedTokens {
  const counts = new Uint32Array(vocabSize + 1);
  for (const id of ids) counts[id + 1]++;
  const distinct: number[] = [];
  for (let id = 0; id < vocabSize; id++) {
    if (counts[id + 1] > 0) distinct.push(id);
    counts[id + 1] += counts[id];
  }
  const starts = Uint32Array.from([...distinct.map((id) => counts[id]), ids.length]);
  const order = new Uint32Array(ids.length);
  ids.forEach((id, position) => order[counts[id]++] = position);
  return { distinctIds: Uint32Array.from(distinct), starts, order };
}

/**
 * Rows of a table.
 *
 * @param table (V, C)
 * @returns (M, C)
 */
export function embedding(graph: Graph, tokens: TokenInputs, table: Tensor): Tensor {
  const M = tokens.ids.shape[0];
  const V = table.shape[0];
  const C = width(table);
  const y = graph.tensor(table.name, [M, C]); // (M, C)
  const tableWindows = rowWindows(V, graph.limits, [C]);
  const options = { widths: [C], live: true };
  const VEC = C % 4 === 0;
  forRows(graph, M, options, ({ from, to, uniforms, groups }) => {
    tableWindows.forEach((part, i) => {
      graph.dispatch(forwardSource.kernel({ PART: i > 0, LIVE: true, VEC }), {
        tensors: {
          ids: tokens.ids.rows(from, to),
          table: table.rows(part.from, part.to),
          y: y.rows(from, to),
        },
        uniforms: { ...uniforms, width: C, vocab0: part.from, vocab: part.to - part.from },
        groups: groups(VEC ? C / 4 : C, 64),
      });
    });
  });
  graph.onBackward(y, (dy) => {
    const target = graph.target(table);
    if (target === null) return;
    const kernel = backwardSource.kernel({ LIVE: true, DISTINCT: tokens.distinct });
    const across = Math.ceil(C / 64);
    // Whole groups of 256 bytes, so that the one start more of a window fits its binding, too.
    const listWindows = rowWindows(M, graph.limits, [1], 64);
    forRows(graph, M, options, ({ from, to, uniforms }) => {
      for (const part of tableWindows) {
        for (const ids of listWindows) {
          for (const order of listWindows) {
            graph.dispatch(kernel, {
              tensors: {
                ids: tokens.distinctIds.rows(ids.from, ids.to),
                starts: tokens.starts.rows(ids.from, ids.to + 1),
                order: tokens.order.rows(order.from, order.to),
                dy: dy.rows(from, to),
                dtable: target.tensor.rows(part.from, part.to),
              },
              uniforms: {
                ...uniforms,
                width: C,
                vocab0: part.from,
                vocab: part.to - part.from,
                distinct0: ids.from,
                distinct: ids.to - ids.from,
                order0: order.from,
                orders: order.to - order.from,
              },
              groups: (live) => clamp((live[tokens.distinct] ?? 0) - ids.from, 0, ids.to - ids.from) * across,
              flops: (to - from) * C / (tableWindows.length * listWindows.length ** 2),
            });
          }
        }
      }
    });
  });
  return y;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
