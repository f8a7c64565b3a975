import type { Tensor } from "../gpu/tensor.ts";
import {
  type AttentionContext,
  copyHeads,
  type Heads,
  headsTensor,
  type Operand,
  operand,
  type Side,
  turned,
} from "./attentionHeads.ts";
import { type AttentionShape, planAttention } from "./attentionPlan.ts";
import { product } from "./attentionProduct.ts";
import { addBiasGradient, addBiasTotal, type AttentionBias, softmax } from "./attentionSoftmax.ts";
import type { DropoutKey } from "./dropout.ts";
import type { GradientTarget, Graph } from "./graph.ts";
import { width } from "./rowwise.ts";

export { appendToCache, type Heads } from "./attentionHeads.ts";
export type { AttentionBias } from "./attentionSoftmax.ts";

export interface AttentionOptions extends AttentionShape {
  /** (B*T, 2) the keys that each query sees, from and to (exclusive), neither falling along a row; at least one key. */
  readonly spans: Tensor;
  /** Of the products; 1/sqrt(HS) where it is left out. */
  readonly scale?: number;
  readonly bias?: AttentionBias | null;
  /** Dropout of the attention weights; needs a key where it is not 0. */
  readonly rate?: number;
  readonly key?: DropoutKey;
}

/**
 * Attention; grouped keys and values where numKvHeads < numHeads. Queries go block by block, so that a (T, S) matrix
 * never exists; what no query of a tile sees is not computed. Without a backward where the keys are a cache's.
 *
 * Neither a sample's rows nor a head's have to fit a binding; the products of one query with its keys do (4 S bytes),
 * and the spans (8 B T bytes).
 *
 * @param query (B*T, ..) NH heads of HS
 * @param key (B*S, ..) NK heads of HS
 * @param value (B*S, ..) NK heads of HS
 * @returns (B*T, NH*HS)
 * @throws RangeError if one query's products, the spans or a row of tokens do not fit a binding
 */
export function attention(
  graph: Graph,
  query: Heads,
  key: Heads,
  value: Heads,
  options: AttentionOptions,
): Tensor {
  const { batch, columns, numHeads: NH, headDim: HS, keys, spans, bias = null, rate = 0 } = options;
  const { scale = 1 / Math.sqrt(HS) } = options;
  const weighing = { scale, bias, rate, key: rate > 0 ? options.key : undefined };
  const table = bias?.kind === "table" ? bias : null;
  const numBuckets = table?.table.shape[0] ?? 0;
  const inputs = [query, key, value].map(({ tensor }) => tensor);
  const plan = planAttention(graph.limits, options, inputs, numBuckets);
  const context = { graph, shape: options, plan, spans };
  const scratchRows = Math.max(...plan.pieces.map(({ kvs, members, rows }) => kvs * members * rows));
  const scratch = (name: string, columns = plan.pitch) => graph.tensor(name, [scratchRows, columns]); // (pairs * rows, ..)

  const out = graph.tensor(query.tensor.name.replace(/qkv|q$/, "attention"), [batch * columns, NH * HS]); // (B*T, NH*HS)
  const lse = graph.tensor(`${out.name} lse`, [batch * NH, columns]); // (B*NH, T)
  const scores = scratch("scores");
  const k = operand(context, "keys", key);
  const turnedKeys = keys.of === "cache" ? k : turned(context, k);
  const [q, v] = [operand(context, "queries", query), operand(context, "keys", value)];
  const place = { offset: 0, isShared: false };
  const weighted = result(context, "queries", { tensor: out, accumulate: 0 }, place);
  for (const piece of plan.pieces) {
    product(context, "scores", piece, { scratch: scores, queries: q, keys: turnedKeys });
    softmax(context, piece, weighing, { scores, lse });
    product(context, "values", piece, { scratch: scores, queries: weighted.operand, keys: v });
  }
  weighted.finish();

  graph.onBackward(out, (gradient) => {
    const targets = new Map([...new Set(inputs)].map((tensor) => [tensor, graph.target(tensor)]));
    const resultFor = (side: Side, { tensor, offset }: Heads) => {
      const target = targets.get(tensor) ?? null;
      // Where keys are columns of the queries' rows, the gradients of queries are written first.
      const isShared = plan.inRows && side === "keys" && tensor === query.tensor;
      return target && result(context, side, target, { offset, isShared });
    };
    const tableGradient = table && graph.target(table.table);
    const [dquery, dkey, dvalue] = [
      resultFor("queries", query),
      resultFor("keys", key),
      resultFor("keys", value),
    ];
    if (!dquery && !dkey && !dvalue && !tableGradient) return;

    const k = operand(context, "keys", key);
    const v = operand(context, "keys", value);
    const [turnedKeys, turnedValues] = [turned(context, k), turned(context, v)];
    const q = operand(context, "queries", query);
    const [weighted, dout] = [out, gradient].map((tensor) => {
      return operand(context, "queries", { tensor, offset: 0 });
    });
    const [weights, dscores] = [scratch("weights"), scratch("grad scores")];
    const biasSums = tableGradient && {
      rows: scratch("grad bias of queries", numBuckets),
      heads: graph.tensor("grad bias of heads", [batch * NH, numBuckets]), // (B*NH, buckets)
    };
    for (const piece of plan.pieces) {
      product(context, "scores", piece, { scratch: weights, queries: q, keys: turnedKeys });
      product(context, "dscores", piece, { scratch: dscores, queries: dout, keys: turnedValues });
      softmax(context, piece, weighing, { scores: weights, lse, backward: { dscores, out: weighted, dout } });
      if (table && biasSums) addBiasGradient(context, piece, table, scale, dscores, biasSums);
      if (dquery) {
        product(context, "dquery", piece, {
          ...dquery.how,
          scratch: dscores,
          queries: dquery.operand,
          keys: k,
        });
      }
      if (dkey) {
        product(context, "dkey", piece, { ...dkey.how, scratch: dscores, queries: q, keys: dkey.operand });
      }
      if (dvalue) {
        product(context, "dvalue", piece, {
          ...dvalue.how,
          scratch: weights,
          queries: dout,
          keys: dvalue.operand,
        });
      }
    }
    for (const each of [dquery, dkey, dvalue]) each?.finish();
    if (tableGradient && biasSums) addBiasTotal(context, tableGradient, biasSums.heads);
  });
  return out;
}

/** Heads that products write. */
interface Result {
  readonly operand: Operand;
  readonly how: { readonly accumulate: number; readonly isShared: boolean };
  /** Brings them where they belong. */
  finish(): void;
}

/** Heads in rows of tokens, from column `offset` on, as the plan wants them. */
function result(
  context: AttentionContext,
  side: Side,
  { tensor, accumulate }: GradientTarget,
  { offset, isShared }: { readonly offset: number; readonly isShared: boolean },
): Result {
  const rows = { tensor, offset };
  const how = { accumulate, isShared };
  if (context.plan.inRows) return { operand: { ...rows, width: width(tensor) }, how, finish: () => {} };
  const heads = headsTensor(context, side, `${tensor.name} heads`);
  // Sums go on from what is there.
  if (accumulate === 1) copyHeads(context, side, "heads", rows, heads);
  return { operand: heads, how, finish: () => copyHeads(context, side, "rows", rows, heads) };
}
