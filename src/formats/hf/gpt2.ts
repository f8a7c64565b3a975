import { z } from "zod";
import { UserError } from "../../errors.ts";
import { checked } from "../checked.ts";
import { quote } from "../file.ts";
import type { TensorSource } from "../safetensors.ts";

/** transformers' name to ours: `gelu` there is the exact form, `gelu` here the tanh form that GPT-2 uses. */
const ACTIVATIONS = {
  gelu_new: "gelu",
  gelu_fast: "gelu",
  gelu_pytorch_tanh: "gelu",
  gelu: "geluErf",
  relu: "relu",
  silu: "silu",
  swish: "silu",
} as const;

export interface Gpt2Architecture {
  readonly numLayers: number;
  readonly modelDim: number;
  readonly numHeads: number;
  readonly ffnDim: number;
  /** Rows of the position table. */
  readonly seqLen: number;
  readonly vocabSize: number;
  readonly activation: (typeof ACTIVATIONS)[keyof typeof ACTIVATIONS];
  readonly normEps: number;
  /** The head is the token embedding. */
  readonly tied: boolean;
  readonly dropout: { readonly embedding: number; readonly attention: number; readonly residual: number };
  readonly initStd: number;
}

const positiveInt = z.int().positive();
const probability = z.number().min(0).lt(1);

/** What changes the model; the defaults are those of GPT2Config, since older files leave them out. */
const configSchema = z.object({
  model_type: z.literal("gpt2"),
  n_layer: positiveInt.default(12),
  n_embd: positiveInt.default(768),
  n_head: positiveInt.default(12),
  n_inner: positiveInt.nullable().default(null),
  n_positions: positiveInt.default(1024),
  vocab_size: positiveInt.default(50257),
  activation_function: z.enum(Object.keys(ACTIVATIONS) as [keyof typeof ACTIVATIONS]).default("gelu_new"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  embd_pdrop: probability.default(0.1),
  attn_pdrop: probability.default(0.1),
  resid_pdrop: probability.default(0.1),
  initializer_range: z.number().positive().default(0.02),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  add_cross_attention: z.literal(false).default(false),
});

/** Names that GPT2Config takes for the same things. */
const ALIASES = new Map([
  ["num_hidden_layers", "n_layer"],
  ["hidden_size", "n_embd"],
  ["num_attention_heads", "n_head"],
  ["max_position_embeddings", "n_positions"],
]);

/**
 * Reads the config.json of a Hugging Face GPT-2 model, of any version of transformers.
 * Keys that change nothing (task parameters, caching) are passed over.
 * @throws UserError that names the key, its value and what is supported.
 */
export function readGpt2Config(json: unknown): Gpt2Architecture {
  const named = json !== null && typeof json === "object" && !Array.isArray(json)
    ? Object.fromEntries(Object.entries(json).map(([key, value]) => [ALIASES.get(key) ?? key, value]))
    : json;
  const config = checked(configSchema, named, "config.json");
  if (config.n_embd % config.n_head !== 0) {
    throw new UserError(`config.json: n_embd ${config.n_embd} is no multiple of n_head ${config.n_head}`);
  }
  return {
    numLayers: config.n_layer,
    modelDim: config.n_embd,
    numHeads: config.n_head,
    ffnDim: config.n_inner ?? 4 * config.n_embd,
    seqLen: config.n_positions,
    vocabSize: config.vocab_size,
    activation: ACTIVATIONS[config.activation_function],
    normEps: config.layer_norm_epsilon,
    tied: config.tie_word_embeddings,
    dropout: { embedding: config.embd_pdrop, attention: config.attn_pdrop, residual: config.resid_pdrop },
    initStd: config.initializer_range,
  };
}

/**
 * The config.json with which old and new versions of transformers load the model: every key is written, since a
 * missing one takes a default that is not ours. `endOfText` is the token at which generation stops.
 */
export function writeGpt2Config(architecture: Gpt2Architecture, endOfText: number | null = null) {
  const { dropout, activation } = architecture;
  return {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    n_layer: architecture.numLayers,
    n_embd: architecture.modelDim,
    n_head: architecture.numHeads,
    n_inner: architecture.ffnDim,
    n_positions: architecture.seqLen,
    n_ctx: architecture.seqLen,
    vocab_size: architecture.vocabSize,
    activation_function: { gelu: "gelu_new", geluErf: "gelu", relu: "relu", silu: "silu" }[activation],
    layer_norm_epsilon: architecture.normEps,
    embd_pdrop: dropout.embedding,
    attn_pdrop: dropout.attention,
    resid_pdrop: dropout.residual,
    initializer_range: architecture.initStd,
    tie_word_embeddings: architecture.tied,
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
    reorder_and_upcast_attn: false,
    add_cross_attention: false,
    summary_type: "cls_index",
    summary_use_proj: true,
    summary_activation: null,
    summary_proj_to_labels: true,
    summary_first_dropout: 0.1,
    bos_token_id: endOfText,
    eos_token_id: endOfText,
    pad_token_id: null,
    use_cache: true,
    dtype: "float32",
    torch_dtype: "float32",
  };
}

/** One parameter in both naming schemes. `transpose`: the file holds the matrix as (in, out), we as (out, in). */
export interface Gpt2Tensor {
  readonly name: string;
  readonly hfName: string;
  /** Ours. */
  readonly shape: readonly number[];
  readonly transpose: boolean;
}

/** All parameters, in the order in which the model uses them. GPT-2's linear layers are Conv1D: (in, out). */
export function gpt2Tensors(architecture: Gpt2Architecture): Gpt2Tensor[] {
  const { numLayers, modelDim: C, ffnDim: F, seqLen: S, vocabSize: V, tied } = architecture;
  const plain = (name: string, hfName: string, ...shape: number[]) => ({
    name,
    hfName,
    shape,
    transpose: false,
  });
  const linear = (name: string, hfName: string, out: number, input: number) => [
    { name: `${name}.weight`, hfName: `${hfName}.weight`, shape: [out, input], transpose: true },
    plain(`${name}.bias`, `${hfName}.bias`, out),
  ];
  const norm = (name: string, hfName: string) => [
    plain(`${name}.weight`, `${hfName}.weight`, C),
    plain(`${name}.bias`, `${hfName}.bias`, C),
  ];
  const blocks = Array.from({ length: numLayers }, (_, i) => {
    const [ours, theirs] = [`blocks.${i}`, `transformer.h.${i}`];
    return [
      ...norm(`${ours}.norm1`, `${theirs}.ln_1`),
      ...linear(`${ours}.attn.qkv`, `${theirs}.attn.c_attn`, 3 * C, C),
      ...linear(`${ours}.attn.out`, `${theirs}.attn.c_proj`, C, C),
      ...norm(`${ours}.norm2`, `${theirs}.ln_2`),
      ...linear(`${ours}.mlp.up`, `${theirs}.mlp.c_fc`, F, C),
      ...linear(`${ours}.mlp.down`, `${theirs}.mlp.c_proj`, C, F),
    ];
  });
  return [
    plain("tok_emb", "transformer.wte.weight", V, C),
    plain("pos_emb", "transformer.wpe.weight", S, C),
    ...blocks.flat(),
    ...norm("final_norm", "transformer.ln_f"),
    ...(tied ? [] : [plain("head.weight", "lm_head.weight", V, C)]),
  ];
}

/**
 * Yields the weights in our names and layout, one tensor at a time, from a file that writes its names with or without
 * `transformer.` in front. Causal masks that old versions stored are passed over, and so is the head's copy of a tied
 * embedding.
 * @throws UserError for a tensor that is missing, unknown, of another shape, or a tied head that is no copy.
 */
export function* readGpt2Weights(
  source: TensorSource,
  architecture: Gpt2Architecture,
): Generator<{ name: string; shape: readonly number[]; values: Float32Array<ArrayBuffer> }> {
  const expected = gpt2Tensors(architecture);
  const stored = storedNames(source);
  if (architecture.tied) passOverTiedHead(source, stored);
  const known = new Set(expected.map(({ hfName }) => bare(hfName)));
  for (const [name, storedName] of stored) {
    if (!known.has(name)) {
      throw new UserError(
        `${quote(source.name)} has the tensor ${quote(storedName)}, which a GPT-2 of this config lacks`,
      );
    }
  }
  for (const { name, hfName, shape, transpose: transposed } of expected) {
    const storedName = stored.get(bare(hfName));
    const storedShape = transposed ? shape.toReversed() : shape;
    if (storedName === undefined) {
      throw new UserError(
        `${quote(source.name)} lacks the tensor ${quote(hfName)}, expected with shape [${storedShape}]`,
      );
    }
    const found = source.tensors.get(storedName)?.shape;
    if (String(found) !== String(storedShape)) {
      throw new UserError(
        `The tensor ${quote(storedName)} of ${
          quote(source.name)
        } has shape [${found}], config.json asks for [${storedShape}]`,
      );
    }
    const values = source.read(storedName);
    yield { name, shape, values: transposed ? transpose(values, storedShape[0], storedShape[1]) : values };
  }
}

/** (rows, cols) -> (cols, rows), both row-major. */
export function transpose(values: Float32Array, rows: number, cols: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length); // (cols, rows)
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) turned[col * rows + row] = values[row * cols + col];
  }
  return turned;
}

const bare = (name: string) => name.replace(/^transformer\./, "");

/** Name without prefix to name in the file, without the masks. */
function storedNames(source: TensorSource): Map<string, string> {
  const names = new Map<string, string>();
  for (const storedName of source.tensors.keys()) {
    const name = bare(storedName);
    if (/^h\.\d+\.attn\.(bias|masked_bias)$/.test(name)) continue;
    if (names.has(name)) {
      throw new UserError(
        `${quote(source.name)} has both ${quote(names.get(name))} and ${quote(storedName)}; remove one`,
      );
    }
    names.set(name, storedName);
  }
  return names;
}

function passOverTiedHead(source: TensorSource, stored: Map<string, string>): void {
  const [head, embedding] = [stored.get("lm_head.weight"), stored.get("wte.weight")];
  if (head === undefined || embedding === undefined) return;
  const [a, b] = [source.readBytes(head), source.readBytes(embedding)];
  if (a.length !== b.length || a.some((byte, i) => byte !== b[i])) {
    throw new UserError(
      `${quote(source.name)} has a ${quote(head)} that differs from ${quote(embedding)}, ` +
        "but config.json ties them; set tie_word_embeddings to false",
    );
  }
  stored.delete("lm_head.weight");
}
