import { z } from "zod";
import { PLAIN_GPT } from "../../config/deriveModel.ts";
import { headSize, positive, positiveInt, probability, readKeys } from "./config.ts";
import { type HfFamily, unknownSettings } from "./family.ts";
import { headByHead, linear, norm, same } from "./tensors.ts";

/** What changes the model, with the defaults of BloomConfig; older files say how long the training rows were. */
const schema = z.object({
  n_layer: positiveInt.default(2),
  hidden_size: positiveInt.default(64),
  n_head: positiveInt.default(8),
  seq_length: positiveInt.default(2048),
  vocab_size: positiveInt.default(250880),
  layer_norm_epsilon: positive.default(1e-5),
  hidden_dropout: probability.default(0),
  attention_dropout: probability.default(0),
  initializer_range: positive.default(0.02),
  tie_word_embeddings: z.boolean().default(true),
  apply_residual_connection_post_layernorm: z.literal(false).default(false),
});

const ALIASES = { n_embed: "hidden_size", num_hidden_layers: "n_layer", num_attention_heads: "n_head" };

/** BLOOM (Le Scao et al., 2022): ALiBi, a norm after the embedding. */
export const bloom: HfFamily = {
  modelType: "bloom",
  className: "BloomForCausalLM",
  prefix: "transformer.",
  aliases: {},
  ignored: /^$/,
  copies: ["lm_head.weight"],
  keys: { numLayers: "n_layer", headDim: "hidden_size / n_head" },

  readConfig(json) {
    const config = readKeys(schema, json, ALIASES);
    return {
      ...PLAIN_GPT,
      positions: "alibi",
      embeddingNorm: true,
      numLayers: config.n_layer,
      modelDim: config.hidden_size,
      numHeads: config.n_head,
      numKvHeads: config.n_head,
      headDim: headSize(config.hidden_size, config.n_head, "hidden_size", "n_head"),
      ffnDim: 4 * config.hidden_size,
      seqLen: config.seq_length,
      vocabSize: config.vocab_size,
      normEps: config.layer_norm_epsilon,
      tied: config.tie_word_embeddings,
      dropout: config.hidden_dropout,
      attentionDropout: config.attention_dropout,
      initStd: config.initializer_range,
    };
  },

  writeConfig: (spec) => ({
    n_layer: spec.numLayers,
    hidden_size: spec.modelDim,
    n_embed: spec.modelDim,
    n_head: spec.numHeads,
    num_attention_heads: spec.numHeads,
    seq_length: spec.seqLen,
    vocab_size: spec.vocabSize,
    layer_norm_epsilon: spec.normEps,
    hidden_dropout: spec.dropout,
    attention_dropout: spec.attentionDropout,
    initializer_range: spec.initStd,
    tie_word_embeddings: spec.tied,
    apply_residual_connection_post_layernorm: false,
    pretraining_tp: 1,
    slow_but_exact: false,
  }),

  obstacles: (spec) =>
    unknownSettings(spec, {
      positions: ["alibi"],
      embeddingNorm: [true],
      norm: ["layernorm"],
      activation: ["gelu"],
      numKvHeads: [spec.numHeads],
      headDim: [spec.modelDim / spec.numHeads],
      ffnDim: [4 * spec.modelDim],
    }),

  tensors(spec) {
    const { numLayers, modelDim: C, ffnDim: F, vocabSize: V, tied } = spec;
    const blocks = Array.from({ length: numLayers }, (_, i) => {
      const [ours, theirs] = [`blocks.${i}`, `transformer.h.${i}`];
      return [
        ...norm(`${ours}.norm1`, `${theirs}.input_layernorm`, spec),
        ...headByHead(`${ours}.attn.qkv`, `${theirs}.self_attention.query_key_value`, spec),
        ...linear(`${ours}.attn.out`, { [`${theirs}.self_attention.dense`]: C }, C, true),
        ...norm(`${ours}.norm2`, `${theirs}.post_attention_layernorm`, spec),
        ...linear(`${ours}.mlp.up`, { [`${theirs}.mlp.dense_h_to_4h`]: F }, C, true),
        ...linear(`${ours}.mlp.down`, { [`${theirs}.mlp.dense_4h_to_h`]: C }, F, true),
      ];
    });
    return [
      same("tok_emb", "transformer.word_embeddings.weight", V, C),
      ...norm("emb_norm", "transformer.word_embeddings_layernorm", spec),
      ...blocks.flat(),
      ...norm("final_norm", "transformer.ln_f", spec),
      ...(tied ? [] : [same("head.weight", "lm_head.weight", V, C)]),
    ];
  },
};
