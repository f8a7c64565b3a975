import { z } from "zod";
import { PLAIN_GPT } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { activationName, activationSchema, PLAIN_ACTIVATIONS } from "./activations.ts";
import { headSize, positive, positiveInt, probability, readKeys, ropeKeys } from "./config.ts";
import { type HfFamily, unknownSettings } from "./family.ts";
import { headByHead, linear, norm, same } from "./tensors.ts";

const share = positive.max(1);

/** What changes the model, with the defaults of GPTNeoXConfig. */
const schema = z.object({
  num_hidden_layers: positiveInt.default(44),
  hidden_size: positiveInt.default(6144),
  num_attention_heads: positiveInt.default(64),
  intermediate_size: positiveInt.default(24576),
  max_position_embeddings: positiveInt.default(2048),
  vocab_size: positiveInt.default(50432),
  hidden_act: activationSchema.default("geluErf"),
  layer_norm_eps: positive.default(1e-5),
  hidden_dropout: probability.default(0),
  attention_dropout: probability.default(0),
  initializer_range: positive.default(0.02),
  tie_word_embeddings: z.boolean().default(false),
  use_parallel_residual: z.boolean().default(true),
  attention_bias: z.literal(true).default(true),
  rotary_pct: share.default(0.25),
  rotary_emb_base: positive.default(10000),
  ...ropeKeys(share),
});

const ALIASES = { rope_theta: "rotary_emb_base", partial_rotary_factor: "rotary_pct" };

/** GPT-NeoX (Black et al., 2022): rotary positions on a part of each head, parallel residual. */
export const gptNeox: HfFamily = {
  modelType: "gpt_neox",
  className: "GPTNeoXForCausalLM",
  prefix: "gpt_neox.",
  aliases: { "lm_head.weight": "embed_out.weight" },
  ignored: /^layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
  copies: ["embed_out.weight"],
  keys: { numLayers: "num_hidden_layers", headDim: "hidden_size / num_attention_heads" },

  readConfig(json) {
    const config = readKeys(schema, json, ALIASES);
    const { rope_theta, partial_rotary_factor } = config.rope_parameters ?? {};
    const headDim = headSize(
      config.hidden_size,
      config.num_attention_heads,
      "hidden_size",
      "num_attention_heads",
    );
    return {
      ...PLAIN_GPT,
      positions: "rotary",
      rotaryBase: rope_theta ?? config.rotary_emb_base,
      rotaryFraction: rotatedShare(headDim, partial_rotary_factor ?? config.rotary_pct),
      numLayers: config.num_hidden_layers,
      modelDim: config.hidden_size,
      numHeads: config.num_attention_heads,
      numKvHeads: config.num_attention_heads,
      headDim,
      ffnDim: config.intermediate_size,
      seqLen: config.max_position_embeddings,
      vocabSize: config.vocab_size,
      activation: config.hidden_act,
      normEps: config.layer_norm_eps,
      parallelResidual: config.use_parallel_residual,
      tied: config.tie_word_embeddings,
      dropout: config.hidden_dropout,
      attentionDropout: config.attention_dropout,
      initStd: config.initializer_range,
    };
  },

  writeConfig: (spec) => ({
    num_hidden_layers: spec.numLayers,
    hidden_size: spec.modelDim,
    num_attention_heads: spec.numHeads,
    intermediate_size: spec.ffnDim,
    max_position_embeddings: spec.seqLen,
    vocab_size: spec.vocabSize,
    hidden_act: activationName(spec.activation),
    layer_norm_eps: spec.normEps,
    hidden_dropout: spec.dropout,
    attention_dropout: spec.attentionDropout,
    classifier_dropout: 0.1,
    initializer_range: spec.initStd,
    tie_word_embeddings: spec.tied,
    use_parallel_residual: spec.parallelResidual,
    attention_bias: true,
    rotary_pct: spec.rotaryFraction,
    rotary_emb_base: spec.rotaryBase,
    rope_scaling: null,
    rope_parameters: {
      rope_type: "default",
      rope_theta: spec.rotaryBase,
      partial_rotary_factor: spec.rotaryFraction,
    },
    is_decoder: false,
  }),

  obstacles: (spec) =>
    unknownSettings(spec, {
      positions: ["rotary"],
      norm: ["layernorm"],
      activation: PLAIN_ACTIVATIONS,
      parallelResidual: [false, true],
      numKvHeads: [spec.numHeads],
      headDim: [spec.modelDim / spec.numHeads],
    }),

  tensors(spec) {
    const { numLayers, modelDim: C, ffnDim: F, vocabSize: V, tied } = spec;
    const blocks = Array.from({ length: numLayers }, (_, i) => {
      const [ours, theirs] = [`blocks.${i}`, `gpt_neox.layers.${i}`];
      return [
        ...norm(`${ours}.norm1`, `${theirs}.input_layernorm`, spec),
        ...headByHead(`${ours}.attn.qkv`, `${theirs}.attention.query_key_value`, spec),
        ...linear(`${ours}.attn.out`, { [`${theirs}.attention.dense`]: C }, C, true),
        ...norm(`${ours}.norm2`, `${theirs}.post_attention_layernorm`, spec),
        ...linear(`${ours}.mlp.up`, { [`${theirs}.mlp.dense_h_to_4h`]: F }, C, true),
        ...linear(`${ours}.mlp.down`, { [`${theirs}.mlp.dense_4h_to_h`]: C }, F, true),
      ];
    });
    return [
      same("tok_emb", "gpt_neox.embed_in.weight", V, C),
      ...blocks.flat(),
      ...norm("final_norm", "gpt_neox.final_layer_norm", spec),
      ...(tied ? [] : [same("head.weight", "embed_out.weight", V, C)]),
    ];
  },
};

/** The share of a head that is rotated, as one that gives a whole number of dimensions: the library rounds down. */
function rotatedShare(headDim: number, share: number): number {
  const rotated = Math.floor(headDim * share);
  const exact = headDim * share === rotated ? share : rotated / headDim;
  if (rotated > 0 && rotated % 2 === 0 && headDim * exact === rotated) return exact;
  throw new UserError(
    `config.json: rotary_pct ${share} rotates ${rotated} of a head's ${headDim} dimensions, expected an even number`,
  );
}
