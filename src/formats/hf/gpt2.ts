import { z } from "zod";
import { PLAIN_GPT } from "../../config/deriveModel.ts";
import { activationName, activationSchema, PLAIN_ACTIVATIONS } from "./activations.ts";
import { headSize, positive, positiveInt, probability, readKeys } from "./config.ts";
import { type HfFamily, unknownSettings } from "./family.ts";
import { conv1d, norm, same } from "./tensors.ts";

/** What changes the model; the defaults are those of GPT2Config, since older files leave them out. */
const schema = z.object({
  n_layer: positiveInt.default(12),
  n_embd: positiveInt.default(768),
  n_head: positiveInt.default(12),
  n_inner: positiveInt.nullable().default(null),
  n_positions: positiveInt.default(1024),
  vocab_size: positiveInt.default(50257),
  activation_function: activationSchema.default("gelu"),
  layer_norm_epsilon: positive.default(1e-5),
  attn_pdrop: probability.default(0.1),
  resid_pdrop: probability.default(0.1),
  initializer_range: positive.default(0.02),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  add_cross_attention: z.literal(false).default(false),
});

const ALIASES = {
  num_hidden_layers: "n_layer",
  hidden_size: "n_embd",
  num_attention_heads: "n_head",
  max_position_embeddings: "n_positions",
};

/** GPT-2 (Radford et al., 2019): learned positions; linear layers are stored (in, out). */
export const gpt2: HfFamily = {
  modelType: "gpt2",
  className: "GPT2LMHeadModel",
  prefix: "transformer.",
  aliases: {},
  ignored: /^h\.\d+\.attn\.(bias|masked_bias)$/,
  copies: ["lm_head.weight"],
  keys: { numLayers: "n_layer", headDim: "n_embd / n_head" },

  readConfig(json) {
    const config = readKeys(schema, json, ALIASES);
    return {
      ...PLAIN_GPT,
      numLayers: config.n_layer,
      modelDim: config.n_embd,
      numHeads: config.n_head,
      numKvHeads: config.n_head,
      headDim: headSize(config.n_embd, config.n_head, "n_embd", "n_head"),
      ffnDim: config.n_inner ?? 4 * config.n_embd,
      seqLen: config.n_positions,
      vocabSize: config.vocab_size,
      activation: config.activation_function,
      normEps: config.layer_norm_epsilon,
      tied: config.tie_word_embeddings,
      dropout: config.resid_pdrop,
      attentionDropout: config.attn_pdrop,
      initStd: config.initializer_range,
    };
  },

  writeConfig: (spec) => ({
    n_layer: spec.numLayers,
    n_embd: spec.modelDim,
    n_head: spec.numHeads,
    n_inner: spec.ffnDim,
    n_positions: spec.seqLen,
    n_ctx: spec.seqLen,
    vocab_size: spec.vocabSize,
    activation_function: activationName(spec.activation),
    layer_norm_epsilon: spec.normEps,
    embd_pdrop: spec.dropout,
    attn_pdrop: spec.attentionDropout,
    resid_pdrop: spec.dropout,
    initializer_range: spec.initStd,
    tie_word_embeddings: spec.tied,
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
    reorder_and_upcast_attn: false,
    add_cross_attention: false,
    summary_type: "cls_index",
    summary_use_proj: true,
    summary_activation: null,
    summary_proj_to_labels: true,
    summary_first_dropout: 0.1,
  }),

  obstacles: (spec) =>
    unknownSettings(spec, {
      positions: ["learned"],
      norm: ["layernorm"],
      activation: PLAIN_ACTIVATIONS,
      numKvHeads: [spec.numHeads],
      headDim: [spec.modelDim / spec.numHeads],
    }),

  tensors(spec) {
    const { numLayers, modelDim: C, ffnDim: F, seqLen, vocabSize: V, tied } = spec;
    const blocks = Array.from({ length: numLayers }, (_, i) => {
      const [ours, theirs] = [`blocks.${i}`, `transformer.h.${i}`];
      return [
        ...norm(`${ours}.norm1`, `${theirs}.ln_1`, spec),
        ...conv1d(`${ours}.attn.qkv`, `${theirs}.attn.c_attn`, 3 * C, C),
        ...conv1d(`${ours}.attn.out`, `${theirs}.attn.c_proj`, C, C),
        ...norm(`${ours}.norm2`, `${theirs}.ln_2`, spec),
        ...conv1d(`${ours}.mlp.up`, `${theirs}.mlp.c_fc`, F, C),
        ...conv1d(`${ours}.mlp.down`, `${theirs}.mlp.c_proj`, C, F),
      ];
    });
    return [
      same("tok_emb", "transformer.wte.weight", V, C),
      same("pos_emb", "transformer.wpe.weight", seqLen, C),
      ...blocks.flat(),
      ...norm("final_norm", "transformer.ln_f", spec),
      ...(tied ? [] : [same("head.weight", "lm_head.weight", V, C)]),
    ];
  },
};
