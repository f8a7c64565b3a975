import { z } from "zod";
import { ACTIVATIONS } from "../../config/axes.ts";
import { type ModelSpec, PLAIN_GPT } from "../../config/deriveModel.ts";
import { UserError } from "../../errors.ts";
import { quote } from "../file.ts";
import {
  activationName,
  activationSchema,
  GATED_ACTIVATIONS,
  gatedBy,
  PLAIN_ACTIVATIONS,
} from "./activations.ts";
import { positive, positiveInt, probability, readKeys } from "./config.ts";
import { type HfFamily, unknownSettings } from "./family.ts";
import { type HfTensor, linear, norm, same } from "./tensors.ts";

/** What changes the model, with the defaults of T5Config; files of version 1.0 say how long the training rows were. */
const schema = z.object({
  num_layers: positiveInt.default(6),
  num_decoder_layers: positiveInt.nullish(),
  d_model: positiveInt.default(512),
  d_kv: positiveInt.default(64),
  d_ff: positiveInt.default(2048),
  num_heads: positiveInt.default(8),
  n_positions: positiveInt.default(512),
  vocab_size: positiveInt.default(32128),
  relative_attention_num_buckets: positiveInt.default(32),
  relative_attention_max_distance: positiveInt.default(128),
  feed_forward_proj: z.string().default("relu"),
  dense_act_fn: z.string().nullish(),
  layer_norm_epsilon: positive.default(1e-6),
  dropout_rate: probability.default(0.1),
  tie_word_embeddings: z.boolean().nullish(),
  scale_decoder_outputs: z.boolean().nullish(),
});

const ALIASES = {
  num_hidden_layers: "num_layers",
  hidden_size: "d_model",
  head_dim: "d_kv",
  num_attention_heads: "num_heads",
};

/**
 * T5 (Raffel et al., 2019), versions 1.0 and 1.1: an encoder and a decoder, relative positions, RMS norm, no biases, no
 * division of scores. Initial values have rules of their own there: `initStd` is left at the usual one.
 */
export const t5: HfFamily = {
  modelType: "t5",
  className: "T5ForConditionalGeneration",
  prefix: "",
  aliases: {},
  ignored: /^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/,
  copies: ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
  keys: {
    numLayers: "num_decoder_layers",
    numEncoderLayers: "num_layers",
    headDim: "d_kv",
    t5NumBuckets: "relative_attention_num_buckets",
    t5MaxDistance: "relative_attention_max_distance",
  },

  readConfig(json, has) {
    const config = readKeys(schema, json, ALIASES);
    return {
      ...PLAIN_GPT,
      architecture: "encoderDecoder",
      positions: "t5",
      norm: "rmsnorm",
      bias: false,
      scaleScores: false,
      numLayers: config.num_decoder_layers ?? config.num_layers,
      numEncoderLayers: config.num_layers,
      modelDim: config.d_model,
      numHeads: config.num_heads,
      numKvHeads: config.num_heads,
      headDim: config.d_kv,
      ffnDim: config.d_ff,
      seqLen: config.n_positions,
      vocabSize: config.vocab_size,
      t5NumBuckets: config.relative_attention_num_buckets,
      t5MaxDistance: config.relative_attention_max_distance,
      activation: readActivation(config),
      normEps: config.layer_norm_epsilon,
      // Version 5 of the library writes that the head is tied even where it isn't, and loads it if it is there.
      tied: !has("lm_head.weight"),
      scaleOutput: config.scale_decoder_outputs ?? config.tie_word_embeddings !== false,
      dropout: config.dropout_rate,
      attentionDropout: config.dropout_rate,
    };
  },

  writeConfig(spec, tokens) {
    const name = activationName(spec.activation);
    const { gated } = ACTIVATIONS[spec.activation];
    const { pad_token_id: pad, decoder_start_token_id: start } = tokens;
    return {
      num_layers: spec.numEncoderLayers,
      num_decoder_layers: spec.numLayers,
      d_model: spec.modelDim,
      d_kv: spec.headDim,
      d_ff: spec.ffnDim,
      num_heads: spec.numHeads,
      n_positions: spec.seqLen,
      vocab_size: spec.vocabSize,
      relative_attention_num_buckets: spec.t5NumBuckets,
      relative_attention_max_distance: spec.t5MaxDistance,
      // The library's name for the gated tanh form is that of the exact one.
      feed_forward_proj: gated ? `gated-${name === "gelu_new" ? "gelu" : name}` : name,
      dense_act_fn: name,
      is_gated_act: gated,
      // initializer_factor is 1.0 where it is missing; JSON has no such number, and version 5 takes no 1.
      layer_norm_epsilon: spec.normEps,
      dropout_rate: spec.dropout,
      classifier_dropout: 0,
      tie_word_embeddings: spec.tied,
      scale_decoder_outputs: spec.scaleOutput,
      is_encoder_decoder: true,
      is_decoder: false,
      pad_token_id: pad ?? 0,
      decoder_start_token_id: start ?? pad ?? 0,
    };
  },

  obstacles: (spec) =>
    unknownSettings(spec, {
      architecture: ["encoderDecoder"],
      positions: ["t5"],
      norm: ["rmsnorm"],
      bias: [false],
      scaleScores: [false],
      scaleOutput: [false, true],
      activation: [...PLAIN_ACTIVATIONS, ...GATED_ACTIVATIONS],
      numKvHeads: [spec.numHeads],
    }),

  tensors: (spec) => [
    same("tok_emb", "shared.weight", spec.vocabSize, spec.modelDim),
    ...stack(spec, "encoder.", "encoder", spec.numEncoderLayers),
    ...stack(spec, "", "decoder", spec.numLayers),
    ...(spec.tied ? [] : [same("head.weight", "lm_head.weight", spec.vocabSize, spec.modelDim)]),
  ],
};

/** @param ours what our names begin with @param theirs what theirs begin with */
function stack(spec: ModelSpec, ours: string, theirs: "encoder" | "decoder", numLayers: number): HfTensor[] {
  const { modelDim: C, ffnDim: F, numHeads: NH, headDim: HS, t5NumBuckets } = spec;
  const inner = NH * HS;
  const blocks = Array.from({ length: numLayers }, (_, i) => {
    const [block, layer] = [`${ours}blocks.${i}`, `${theirs}.block.${i}.layer`];
    const [self, cross] = [`${layer}.0.SelfAttention`, `${layer}.1.EncDecAttention`];
    const last = `${layer}.${theirs === "decoder" ? 2 : 1}`;
    const mlp = `${last}.DenseReluDense`;
    return [
      ...norm(`${block}.norm1`, `${layer}.0.layer_norm`, spec),
      ...linear(
        `${block}.attn.qkv`,
        { [`${self}.q`]: inner, [`${self}.k`]: inner, [`${self}.v`]: inner },
        C,
        false,
      ),
      ...linear(`${block}.attn.out`, { [`${self}.o`]: C }, inner, false),
      ...(theirs === "encoder" ? [] : [
        ...norm(`${block}.norm_cross`, `${layer}.1.layer_norm`, spec),
        ...linear(`${block}.cross.q`, { [`${cross}.q`]: inner }, C, false),
        ...linear(`${block}.cross.kv`, { [`${cross}.k`]: inner, [`${cross}.v`]: inner }, C, false),
        ...linear(`${block}.cross.out`, { [`${cross}.o`]: C }, inner, false),
      ]),
      ...norm(`${block}.norm2`, `${last}.layer_norm`, spec),
      // wi_0 is the gate
      ...linear(
        `${block}.mlp.up`,
        ACTIVATIONS[spec.activation].gated
          ? { [`${mlp}.wi_1`]: F, [`${mlp}.wi_0`]: F }
          : { [`${mlp}.wi`]: F },
        C,
        false,
      ),
      ...linear(`${block}.mlp.down`, { [`${mlp}.wo`]: C }, F, false),
    ];
  });
  const bias = `${theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`;
  return [
    same(`${ours}rel_bias`, bias, t5NumBuckets, NH),
    ...blocks.flat(),
    ...norm(`${ours}final_norm`, `${theirs}.final_layer_norm`, spec),
  ];
}

/** `relu`, `gated-gelu` or the like; newer files name the function once more, by its right name. */
function readActivation(config: z.infer<typeof schema>): ModelSpec["activation"] {
  const { feed_forward_proj: found, dense_act_fn } = config;
  const [, gate, name] = /^(gated-)?(.*)$/s.exec(found) ?? [];
  const usual = found === "gated-gelu" ? "gelu_new" : name;
  const plain = activationSchema.safeParse(dense_act_fn ?? usual);
  if (!plain.success) {
    throw new UserError(
      `config.json: ${
        dense_act_fn == null
          ? `feed_forward_proj is ${quote(found)}`
          : `dense_act_fn is ${quote(dense_act_fn)}`
      }, expected relu, gelu or silu, gated- or not`,
    );
  }
  return gate === undefined ? plain.data : gatedBy(plain.data);
}
