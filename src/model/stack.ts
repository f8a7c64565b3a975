import type { Tensor } from "../gpu/tensor.ts";
import { embedding } from "../ops/embedding.ts";
import { linear } from "../ops/linear.ts";
import { scale } from "../ops/scale.ts";
import { softCap } from "../ops/softCap.ts";
import { crossKeysAndValues } from "./attention.ts";
import { block } from "./block.ts";
import { dropoutAt, type ModelContext, normAt, type SourceInputs, type StackInputs } from "./context.ts";
import { positionKinds } from "./positions.ts";
import type { StackName } from "./parameters.ts";

/** Sites of dropout on the embeddings. */
const EMBEDDING_SITE: Readonly<Record<StackName, number>> = { "": 0, "encoder.": 0x300000 };

/** The segment of a block, whose forward may be run again before its backward. */
export function blockSegment(stack: StackName, layer: number): string {
  return `${stack}block ${layer}`;
}

/**
 * Embeddings, blocks, final norm: a decoder, or an encoder.
 *
 * @param source what the decoder's blocks see of an encoder; null: nothing
 * @returns (B*T, C)
 */
export function runStack(context: ModelContext, stack: StackInputs, source: SourceInputs | null): Tensor {
  const { graph, spec } = context;
  const kind = positionKinds[spec.positions];
  let [x, bias] = graph.segment(`${stack.name}embedding`, () => {
    const embedded = kind.embed(context, stack, wordEmbedding(context, stack));
    return [dropoutAt(context, embedded, EMBEDDING_SITE[stack.name]), kind.bias(context, stack)] as const;
  });
  for (let layer = 0; layer < stack.numLayers; layer++) {
    x = graph.segment(
      blockSegment(stack.name, layer),
      () => block(context, stack, layer, x, bias, source),
    );
  }
  return graph.segment(`${stack.name}final norm`, () => {
    const normed = normAt(context, `${stack.name}final_norm`, x);
    return stack.name === "" && spec.scaleOutput
      ? scale(graph, normed, 1 / Math.sqrt(spec.modelDim))
      : normed;
  });
}

/** (B*T, C) */
function wordEmbedding(context: ModelContext, { tokens }: StackInputs): Tensor {
  const embedded = embedding(context.graph, tokens, context.parameter("tok_emb"));
  return context.spec.embeddingNorm ? normAt(context, "emb_norm", embedded, "layernorm") : embedded;
}

/**
 * Runs an encoder, and makes of its output what each layer of the decoder will look at.
 *
 * @returns for each layer (B*S, 2 NK HS)
 */
export function runEncoder(context: ModelContext, stack: StackInputs): Tensor[] {
  const { graph, spec } = context;
  return graph.inStack(1, () => {
    const encoded = runStack(context, stack, null); // (B*S, C)
    return graph.segment(
      "source",
      () => Array.from({ length: spec.numLayers }, (_, layer) => crossKeysAndValues(context, layer, encoded)),
    );
  });
}

/** Writes the logits (M, V) of what the final norm has made, x (M, C). */
export function head(context: ModelContext, x: Tensor, logits: Tensor): void {
  const { graph, spec } = context;
  linear(graph, x, headWeight(context), null, logits);
  if (spec.logitSoftCap !== null) softCap(graph, logits, spec.logitSoftCap);
}

/** The head's weight (V, C): of its own, or the embedding's. */
export function headWeight({ spec, parameter }: ModelContext): Tensor {
  return parameter(spec.tied ? "tok_emb" : "head.weight");
}
