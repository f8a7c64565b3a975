import { isBanded } from "../config/deriveModel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { appendToCache, attention, type AttentionBias } from "../ops/attention.ts";
import { headNorm } from "../ops/headNorm.ts";
import { dropoutSite, linearAt, type ModelContext, type SourceInputs, type StackInputs } from "./context.ts";
import { positionKinds } from "./positions.ts";

/** x (B*T, C) -> (B*T, C): the tokens of a stack look at one another. */
export function selfAttention(
  context: ModelContext,
  stack: StackInputs,
  layer: number,
  x: Tensor,
  bias: AttentionBias | null,
): Tensor {
  const { graph, spec } = context;
  const { numHeads: NH, numKvHeads: NK, headDim: HS } = spec;
  const name = `${stack.name}blocks.${layer}.attn`;
  const projected = linearAt(context, `${name}.qkv`, x); // (B*T, (NH + 2 NK) HS)
  const normed = withHeadNorms(context, name, projected, { q: NH, k: NK });
  const qkv = positionKinds[spec.positions].rotate(context, stack, normed);
  const cache = stack.caches?.[layer];
  const cacheRows = (cache?.shape[0] ?? 0) / context.batch;
  if (cache !== undefined) appendToCache(graph, { tensor: qkv, offset: NH * HS }, cache, cacheRows);
  const [keys, values] = cache === undefined
    ? [{ tensor: qkv, offset: NH * HS }, { tensor: qkv, offset: (NH + NK) * HS }]
    : [{ tensor: cache, offset: 0 }, { tensor: cache, offset: NK * HS }];
  const heads = attention(graph, { tensor: qkv, offset: 0 }, keys, values, {
    ...shared(context, stack, dropoutSite(stack.name, layer, 0)),
    keys: cache === undefined ? { of: "own", rows: stack.columns } : { of: "cache", rows: cacheRows },
    spans: stack.spans,
    causal: stack.name === "" && spec.architecture !== "nonCausalDecoder",
    window: stack.name === "" && isBanded(spec, layer) ? spec.window : null,
    bias,
  }); // (B*T, NH HS)
  return linearAt(context, `${name}.out`, heads);
}

/** x (B*T, C) -> (B*T, C): a decoder's tokens look at the encoder's. */
export function crossAttention(
  context: ModelContext,
  stack: StackInputs,
  layer: number,
  x: Tensor,
  source: SourceInputs,
): Tensor {
  const { graph, spec: { numHeads: NH, numKvHeads: NK, headDim: HS } } = context;
  const name = `blocks.${layer}.cross`;
  const query = withHeadNorms(context, name, linearAt(context, `${name}.q`, x), { q: NH }); // (B*T, NH HS)
  const keysAndValues = source.keysAndValues[layer];
  const heads = attention(
    graph,
    { tensor: query, offset: 0 },
    { tensor: keysAndValues, offset: 0 },
    { tensor: keysAndValues, offset: NK * HS },
    {
      ...shared(context, stack, dropoutSite(stack.name, layer, 3)),
      keys: { of: "source", rows: source.columns },
      spans: source.spans,
      causal: false,
    },
  ); // (B*T, NH HS)
  return linearAt(context, `${name}.out`, heads);
}

/** encoded (B*S, C) -> keys and values (B*S, 2 NK HS) for a layer of the decoder. */
export function crossKeysAndValues(context: ModelContext, layer: number, encoded: Tensor): Tensor {
  const name = `blocks.${layer}.cross`;
  return withHeadNorms(context, name, linearAt(context, `${name}.kv`, encoded), {
    k: context.spec.numKvHeads,
  });
}

/** QK-norm of query heads and then key heads, from the first column on, if the model has it. */
function withHeadNorms(
  { graph, spec, parameter }: ModelContext,
  name: string,
  heads: Tensor,
  counts: { readonly q?: number; readonly k?: number },
): Tensor {
  if (!spec.qkNorm) return heads;
  const runs = (["q", "k"] as const).flatMap((part) => {
    const numHeads = counts[part];
    return numHeads === undefined ? [] : [{ numHeads, weight: parameter(`${name}.${part}_norm.weight`) }];
  });
  return headNorm(graph, heads, runs, spec.normEps);
}

function shared({ spec, batch, dropoutKeys }: ModelContext, { columns }: StackInputs, site: number) {
  const { numHeads, numKvHeads, headDim, scaleScores, attentionDropout } = spec;
  return {
    batch,
    columns,
    numHeads,
    numKvHeads,
    headDim,
    scale: scaleScores ? 1 / Math.sqrt(headDim) : 1,
    rate: dropoutKeys === null ? 0 : attentionDropout,
    key: dropoutKeys === null ? undefined : { ...dropoutKeys, site },
  };
}
