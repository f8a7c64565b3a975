import type { ModelSpec } from "../config/derive.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { activation } from "../ops/activation.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { dropout } from "../ops/dropout.ts";
import type { Graph } from "../ops/graph.ts";
import { linear } from "../ops/linear.ts";
import { norm } from "../ops/norm.ts";

/** What a model's pieces are recorded with. */
export interface ModelContext {
  readonly graph: Graph;
  readonly spec: ModelSpec;
  /** @throws Error if the model has no such parameter. */
  parameter(name: string): Tensor;
  /** null: the model has no such parameter (biases). */
  optional(name: string): Tensor | null;
  readonly batch: number; // B
  readonly columns: number; // T
  /** Keys of dropout; null: no dropout. */
  readonly dropoutKeys: { readonly seed: number; readonly samples: Tensor } | null;
  /** Keys and values of earlier calls, of each layer. */
  readonly caches: readonly Tensor[] | null;
}

/** Dropout at a place of the model; each has a number of its own. */
export function dropoutAt({ spec, dropoutKeys, graph }: ModelContext, x: Tensor, site: number): Tensor {
  return dropoutKeys === null ? x : dropout(graph, x, spec.dropout, { ...dropoutKeys, site });
}

export function normAt({ graph, spec, parameter, optional }: ModelContext, name: string, x: Tensor): Tensor {
  return norm(graph, spec.norm, x, parameter(`${name}.weight`), optional(`${name}.bias`), spec.normEps);
}

function linearAt({ graph, parameter, optional }: ModelContext, name: string, x: Tensor): Tensor {
  return linear(graph, x, parameter(`${name}.weight`), optional(`${name}.bias`));
}

/** x (B*T, C) -> (B*T, C): pre-norm attention and MLP, each added to the residual stream. */
export function block(context: ModelContext, layer: number, x: Tensor): Tensor {
  const { graph, spec, batch, columns, dropoutKeys, caches } = context;
  const name = `blocks.${layer}`;
  const site = 1 + 3 * layer;

  const qkv = linearAt(context, `${name}.attn.qkv`, normAt(context, `${name}.norm1`, x)); // (B*T, (NH + 2 NK) HS)
  const heads = attention(graph, qkv, {
    batch,
    columns,
    numHeads: spec.numHeads,
    numKvHeads: spec.numKvHeads,
    headDim: spec.headDim,
    rate: dropoutKeys === null ? 0 : spec.attentionDropout,
    key: dropoutKeys === null ? undefined : { ...dropoutKeys, site },
    cache: caches?.[layer],
  }); // (B*T, NH HS)
  const attended = linearAt(context, `${name}.attn.out`, heads); // (B*T, C)
  const middle = add(graph, x, dropoutAt(context, attended, site + 1));

  const up = linearAt(context, `${name}.mlp.up`, normAt(context, `${name}.norm2`, middle)); // (B*T, F) or (B*T, 2F)
  const down = linearAt(context, `${name}.mlp.down`, activation(graph, up, spec.activation));
  return add(graph, middle, dropoutAt(context, down, site + 2));
}
