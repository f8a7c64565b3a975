import type { Tensor } from "../gpu/tensor.ts";
import { activation } from "../ops/activation.ts";
import { add } from "../ops/add.ts";
import type { AttentionBias } from "../ops/attention.ts";
import { crossAttention, selfAttention } from "./attention.ts";
import {
  dropoutAt,
  dropoutSite,
  linearAt,
  type ModelContext,
  normAt,
  type SourceInputs,
  type StackInputs,
} from "./context.ts";

/**
 * x (B*T, C) -> (B*T, C): pre-norm attention, attention to the source where there is one, and MLP, each added to the
 * residual stream.
 *
 * @param bias of self-attention's scores
 * @param source what the encoder made; null: no encoder
 */
export function block(
  context: ModelContext,
  stack: StackInputs,
  layer: number,
  x: Tensor,
  bias: AttentionBias | null,
  source: SourceInputs | null,
): Tensor {
  const { graph, spec } = context;
  const name = `${stack.name}blocks.${layer}`;
  const drop = (part: Tensor, place: number) =>
    dropoutAt(context, part, dropoutSite(stack.name, layer, place));
  const normed = normAt(context, `${name}.norm1`, x);
  let middle = add(graph, x, drop(selfAttention(context, stack, layer, normed, bias), 1));
  if (source !== null) {
    const query = normAt(context, `${name}.norm_cross`, middle);
    middle = add(graph, middle, drop(crossAttention(context, stack, layer, query, source), 4));
  }
  const forMlp = normAt(context, `${name}.norm2`, spec.parallelResidual ? x : middle);
  return add(graph, middle, drop(mlp(context, name, forMlp), 2));
}

/** x (B*T, C) -> (B*T, C). */
function mlp(context: ModelContext, name: string, x: Tensor): Tensor {
  const up = linearAt(context, `${name}.mlp.up`, x); // (B*T, F) or (B*T, 2F)
  return linearAt(context, `${name}.mlp.down`, activation(context.graph, up, context.spec.activation));
}
