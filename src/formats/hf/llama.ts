import { z } from "zod";
import { PLAIN_GPT } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { activationName, activationSchema, GATED_ACTIVATIONS, gatedBy } from "./activations.ts";
import { headSize, positive, positiveInt, probability, readKeys, ropeKeys } from "./config.ts";
import { type HfFamily, unknownSettings } from "./family.ts";
import { linear, norm, same } from "./tensors.ts";

const WHOLE_HEAD = z.literal(1);

/** What changes the model, with the defaults of LlamaConfig. */
const schema = z.object({
  num_hidden_layers: positiveInt.default(32),
  hidden_size: positiveInt.default(4096),
  num_attention_heads: positiveInt.default(32),
  num_key_value_heads: positiveInt.nullish(),
  head_dim: positiveInt.nullish(),
  intermediate_size: positiveInt.default(11008),
  max_position_embeddings: positiveInt.default(2048),
  vocab_size: positiveInt.default(32000),
  hidden_act: activationSchema.default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_dropout: probability.default(0),
  initializer_range: positive.default(0.02),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  rope_theta: positive.default(10000),
  partial_rotary_factor: WHOLE_HEAD.optional(),
  ...ropeKeys(WHOLE_HEAD),
});

/** LLaMA (Touvron et al., 2023): rotary positions, RMS norm, a gated MLP, grouped keys and values. */
export const llama: HfFamily = {
  modelType: "llama",
  className: "LlamaForCausalLM",
  prefix: "model.",
  aliases: {},
  ignored: /^layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/,
  copies: ["lm_head.weight"],
  keys: {
    numLayers: "num_hidden_layers",
    numHeads: "num_attention_heads",
    numKvHeads: "num_key_value_heads",
    headDim: "head_dim",
  },

  readConfig(json) {
    const config = readKeys(schema, json);
    const { attention_bias, mlp_bias, num_attention_heads: numHeads } = config;
    if (attention_bias !== mlp_bias) {
      throw new UserError(
        `config.json: attention_bias is ${attention_bias} and mlp_bias is ${mlp_bias}, expected the same: ` +
          "our models have biases in all linear layers or in none",
      );
    }
    return {
      ...PLAIN_GPT,
      positions: "rotary",
      rotaryBase: config.rope_parameters?.rope_theta ?? config.rope_theta,
      norm: "rmsnorm",
      numLayers: config.num_hidden_layers,
      modelDim: config.hidden_size,
      numHeads,
      numKvHeads: config.num_key_value_heads ?? numHeads,
      headDim: config.head_dim ??
        headSize(config.hidden_size, numHeads, "hidden_size", "num_attention_heads"),
      ffnDim: config.intermediate_size,
      seqLen: config.max_position_embeddings,
      vocabSize: config.vocab_size,
      activation: gatedBy(config.hidden_act),
      normEps: config.rms_norm_eps,
      bias: attention_bias,
      tied: config.tie_word_embeddings,
      attentionDropout: config.attention_dropout,
      initStd: config.initializer_range,
    };
  },

  writeConfig: (spec) => ({
    num_hidden_layers: spec.numLayers,
    hidden_size: spec.modelDim,
    num_attention_heads: spec.numHeads,
    num_key_value_heads: spec.numKvHeads,
    head_dim: spec.headDim,
    intermediate_size: spec.ffnDim,
    max_position_embeddings: spec.seqLen,
    vocab_size: spec.vocabSize,
    hidden_act: activationName(spec.activation),
    rms_norm_eps: spec.normEps,
    attention_dropout: spec.attentionDropout,
    initializer_range: spec.initStd,
    tie_word_embeddings: spec.tied,
    attention_bias: spec.bias,
    mlp_bias: spec.bias,
    rope_theta: spec.rotaryBase,
    rope_scaling: null,
    rope_parameters: { rope_type: "default", rope_theta: spec.rotaryBase },
    pretraining_tp: 1,
  }),

  obstacles: (spec) =>
    unknownSettings(spec, {
      positions: ["rotary"],
      rotaryFraction: [1],
      norm: ["rmsnorm"],
      activation: GATED_ACTIVATIONS,
      bias: [false, true],
    }),

  tensors(spec) {
    const { numLayers, modelDim: C, ffnDim: F, vocabSize: V, numHeads: NH, numKvHeads: NK, headDim: HS } =
      spec;
    const blocks = Array.from({ length: numLayers }, (_, i) => {
      const [ours, theirs] = [`blocks.${i}`, `model.layers.${i}`];
      const [attention, mlp] = [`${theirs}.self_attn`, `${theirs}.mlp`];
      const qkv = {
        [`${attention}.q_proj`]: NH * HS,
        [`${attention}.k_proj`]: NK * HS,
        [`${attention}.v_proj`]: NK * HS,
      };
      const upAndGate = { [`${mlp}.up_proj`]: F, [`${mlp}.gate_proj`]: F };
      return [
        ...norm(`${ours}.norm1`, `${theirs}.input_layernorm`, spec),
        ...linear(`${ours}.attn.qkv`, qkv, C, spec.bias),
        ...linear(`${ours}.attn.out`, { [`${attention}.o_proj`]: C }, NH * HS, spec.bias),
        ...norm(`${ours}.norm2`, `${theirs}.post_attention_layernorm`, spec),
        ...linear(`${ours}.mlp.up`, upAndGate, C, spec.bias),
        ...linear(`${ours}.mlp.down`, { [`${mlp}.down_proj`]: C }, F, spec.bias),
      ];
    });
    return [
      same("tok_emb", "model.embed_tokens.weight", V, C),
      ...blocks.flat(),
      ...norm("final_norm", "model.norm", spec),
      ...(spec.tied ? [] : [same("head.weight", "lm_head.weight", V, C)]),
    ];
  },
};
