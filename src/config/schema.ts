import { z } from "zod";
import { intervalAmount, trainingAmount } from "./amount.ts";

const positiveInt = z.int().positive();
const probability = z.number().min(0).lt(1);

/** The architecture. `null` means: derived, see `derive.ts`. */
export const modelSchema = z.strictObject({
  numLayers: positiveInt,
  modelDim: positiveInt,
  numHeads: positiveInt,
  /** Fewer than numHeads: grouped-query attention. null: numHeads. */
  numKvHeads: positiveInt.nullable(),
  /** null: 4 modelDim; for gated activations floor(8/3 modelDim / 8) * 8, which costs as many parameters. */
  ffnDim: positiveInt.nullable(),
  /** Tokens in a row; rows of the learned position table. */
  seqLen: positiveInt,
  /** null: the tokenizer's. A larger one pads the table. */
  vocabSize: positiveInt.nullable(),
  positions: z.enum(["none", "learned"]),
  activation: z.enum(["gelu", "geluErf", "relu", "silu", "swiglu", "geglu", "reglu"]),
  norm: z.enum(["layernorm", "rmsnorm"]),
  normEps: z.number().positive(),
  /** Biases of linear layers and LayerNorms. */
  bias: z.boolean(),
  /** The head is the token embedding. */
  tied: z.boolean(),
  /** On the embedding's sum and on what each sub-layer adds to the residual. */
  dropout: probability,
  /** On the attention weights. */
  attentionDropout: probability,
  /** Coefficient of mean(logsumexp^2) in the loss. */
  zLoss: z.number().min(0),
  /** Standard deviation of weights and embeddings at the start. */
  initStd: z.number().positive(),
  /** Output projections of attention and MLP start with initStd / sqrt(2 numLayers). */
  scaledResidualInit: z.boolean(),
});

/** Batch, length and loop. */
export const trainSchema = z.strictObject({
  /** Sequences in a global batch. */
  batchSize: positiveInt,
  /** Sequences that go through the GPU at once. null: as many as batchSize / virtualWorkers, at most 16. */
  microBatchSize: positiveInt.nullable(),
  duration: trainingAmount,
  /** Batch size starts at `start` and grows by `increment` until batchSize, in equal shares of `samples` (Megatron's rule). */
  rampUp: z.strictObject({ start: positiveInt, increment: positiveInt, samples: positiveInt }).nullable(),
  /** What to do when the loss or the gradient norm is not finite. */
  nonFinite: z.enum(["stop", "skip", "rollback"]),
  /** Does a skipped step count in the schedule and in Adam's bias correction? */
  skippedStepCounts: z.boolean(),
});

export const optimizerSchema = z.strictObject({
  learningRate: z.number().positive(),
  minLearningRate: z.number().min(0),
  schedule: z.enum(["cosine", "linear", "constant", "inverseSqrt", "wsd"]),
  /** Linear warm-up from 0. */
  warmup: trainingAmount,
  /** Where the decay ends (cosine, linear) or how long the final decay is (wsd). null: the duration; for wsd a fifth of it. */
  decay: trainingAmount.nullable(),
  beta1: z.number().min(0).lt(1),
  beta2: z.number().min(0).lt(1),
  eps: z.number().positive(),
  /** On parameters with two dimensions. */
  weightDecay: z.number().min(0),
  /** Largest global gradient norm; 0: no clipping. */
  clip: z.number().min(0),
});

/** A run. Every key must be there: the defaults are in presets/default.jsonc, not here. */
export const runSchema = z.strictObject({
  /** The run lies in runs/<name>. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "expected letters, digits, dots, dashes"),
  seed: z.int().min(0).max(0xffffffff),
  /** A text file or a folder of text files. null: the TypeScript declarations that Deno carries (`deno types`). */
  data: z.string().min(1).nullable(),
  tokenizer: z.enum(["bytes", "chars", "bpe"]),
  /** Size of the BPE vocabulary. */
  bpeVocabSize: z.int().min(257).max(65536),
  /** Start from the newest weights of another run, a checkpoint or a Hugging Face GPT-2 folder, with a fresh optimizer. */
  from: z.string().min(1).nullable(),
  model: modelSchema,
  train: trainSchema,
  optimizer: optimizerSchema,
  validation: z.strictObject({
    /** Share of the tokens at the end of the corpus that is held out. */
    fraction: z.number().min(0).max(0.5),
    every: intervalAmount.nullable(),
    /** Sequences that are scored each time; the whole held-out part is scored at the end. */
    samples: positiveInt,
  }),
  checkpoint: z.strictObject({
    every: intervalAmount.nullable(),
    /** How many of the last ones are kept, besides the best. */
    keep: positiveInt,
    best: z.boolean(),
  }),
  log: z.strictObject({
    /** Steps between log lines. */
    every: positiveInt,
    tensorboard: z.boolean(),
    /** Prints and stores a text sample this often. */
    sampleEvery: intervalAmount.nullable(),
    samplePrompt: z.string(),
    sampleTokens: positiveInt,
  }),
  scale: z.strictObject({
    /** Fixed parts of every global batch, whose gradients are added along a fixed binary tree; a constant of the run. */
    virtualWorkers: positiveInt,
  }),
  engine: z.strictObject({
    /** Keep only each block's input and run its forward again before its backward. */
    recompute: z.boolean(),
    /** Times kernel variants once per adapter and shape class; never changes bits. */
    tune: z.boolean(),
    /** Largest storage binding in bytes. null: the adapter's limit. */
    maxBinding: z.int().min(16384).nullable(),
    /** The canonical order of every reduction. */
    numericMode: z.enum(["canonical"]),
  }),
});

export type RunConfig = z.infer<typeof runSchema>;
export type ModelConfig = z.infer<typeof modelSchema>;
export type OptimizerConfig = z.infer<typeof optimizerSchema>;
