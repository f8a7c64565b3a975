import type { Tensor } from "../gpu/tensor.ts";
import { embedding, type TokenInputs } from "../ops/embedding.ts";
import { block, dropoutAt, type ModelContext, normAt } from "./block.ts";
import { positionKinds } from "./positions.ts";

/** Segments whose forward may be run again before their backward. */
export function blockSegment(layer: number): string {
  return `block ${layer}`;
}

/**
 * A decoder: embeddings, blocks, final norm. The head and the loss are recorded by whoever needs them.
 *
 * @returns (B*T, C)
 */
export function decoder(context: ModelContext, tokens: TokenInputs): Tensor {
  const { graph, spec, parameter } = context;
  let x = graph.segment("embedding", () => {
    const embedded = embedding(graph, tokens, parameter("tok_emb")); // (B*T, C)
    return dropoutAt(context, positionKinds[spec.positions].embed(graph, embedded, parameter), 0);
  });
  for (let layer = 0; layer < spec.numLayers; layer++) {
    x = graph.segment(blockSegment(layer), () => block(context, layer, x));
  }
  return graph.segment("final norm", () => normAt(context, "final_norm", x));
}

/** The head's weight (V, C): of its own, or the embedding's. */
export function headWeight({ spec, parameter }: ModelContext): Tensor {
  return parameter(spec.tied ? "tok_emb" : "head.weight");
}
