import { z } from "zod";
import { intervalAmount, trainingAmount } from "./amount.ts";
import { ACTIVATIONS, ATTENTIONS, namesOf, POSITIONS } from "./axes.ts";

const positiveInt = z.int().positive();
const probability = z.number().min(0).lt(1);

/** The model. `null` means: derived, see `derive.ts`. */
export const modelSchema = z.strictObject({
  /**
   * The shapes that Wang et al. (2022, arXiv 2204.05832) compare. A causal decoder: every token sees those before it.
   * A non-causal one: the tokens of the prefix see one another both ways. Encoder and decoder: T5's.
   */
  architecture: z.enum(["causalDecoder", "nonCausalDecoder", "encoderDecoder"]),
  /** Blocks of the decoder. */
  numLayers: positiveInt,
  /** Blocks of the encoder, where there is one. null: numLayers. */
  numEncoderLayers: positiveInt.nullable(),
  modelDim: positiveInt,
  numHeads: positiveInt,
  /** Fewer than numHeads: grouped-query attention. null: numHeads. */
  numKvHeads: positiveInt.nullable(),
  /** null: modelDim / numHeads. */
  headDim: positiveInt.nullable(),
  /** "equal-parameters": 4 modelDim; for gated activations floor(8/3 modelDim / 8) * 8, which costs as many parameters. */
  ffnDim: z.union([positiveInt, z.literal("equal-parameters")]),
  /** Tokens in a row; rows of the learned position table. */
  seqLen: positiveInt,
  /** null: the tokenizer's. A larger one pads the table. */
  vocabSize: positiveInt.nullable(),
  positions: z.enum(namesOf(POSITIONS)),
  rotaryBase: z.number().positive(),
  /** Share of a head's dimensions that is rotated. */
  rotaryFraction: z.number().positive().max(1),
  t5NumBuckets: positiveInt,
  /** Distance from which on all share a bucket. */
  t5MaxDistance: positiveInt,
  activation: z.enum(namesOf(ACTIVATIONS)),
  norm: z.enum(["layernorm", "rmsnorm"]),
  normEps: z.number().positive(),
  /** A LayerNorm right after the word embedding; a tied head uses the embedding as it is. */
  embeddingNorm: z.boolean(),
  /** An RMS norm of each query and key head. */
  qkNorm: z.boolean(),
  /** Attention and MLP read the same residual stream and are added together. */
  parallelResidual: z.boolean(),
  /** Self-attention of the decoder's layers; alternating: layers 0, 2, ... dense, 1, 3, ... banded. */
  attention: z.enum(namesOf(ATTENTIONS)),
  /** Keys that a query of a banded layer sees, its own included. */
  window: positiveInt.nullable(),
  /** Divide scores by sqrt(headDim); T5 doesn't. */
  scaleScores: z.boolean(),
  /** Multiply what the head reads by 1/sqrt(modelDim), as T5 does where the head is tied. */
  scaleOutput: z.boolean(),
  /** Biases of linear layers and LayerNorms. */
  bias: z.boolean(),
  /** The head is the token embedding. */
  tied: z.boolean(),
  /** On the embedding's sum and on what each sub-layer adds to the residual. */
  dropout: probability,
  /** On the attention weights. */
  attentionDropout: probability,
  /** Logits become cap * tanh(logits / cap), as in Gemma 2; in the loss and wherever they are read. null: as they are. */
  logitSoftCap: z.number().positive().nullable(),
  /** Coefficient of mean(logsumexp^2) in the loss. */
  zLoss: z.number().min(0),
  /** Standard deviation of weights and embeddings at the start. null: sqrt(1 / (3 modelDim)), BLOOM's rule. */
  initStd: z.number().positive().nullable(),
  /** Output projections of attention and MLP start with initStd / sqrt(2 numLayers), an encoder's with its own layers. */
  scaledResidualInit: z.boolean(),
});

/** What a model learns to predict. */
export const objectiveSchema = z.strictObject({
  /**
   * causal: the next token, everywhere. prefix: the next token, after a prefix of random length. span: the tokens of
   * masked spans (T5's span corruption).
   */
  kind: z.enum(["causal", "prefix", "span"]),
  /** Share of tokens that are masked (span). */
  noiseDensity: z.number().positive().lt(1),
  /** Mean length of a masked span, in tokens. */
  meanSpanLength: z.number().min(1),
});

/** Documents that share a row. */
export const packingSchema = z.strictObject({
  /** Tokens see their own document alone. */
  separate: z.boolean(),
  /** Positions start again with each document; needs `separate`. */
  restartPositions: z.boolean(),
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

/** How weights change. `null` for a number means: what is usual with this kind, see `deriveUpdate.ts`. */
export const optimizerSchema = z.strictObject({
  /** Adafactor (Shazeer and Stern 2018) keeps of a matrix's second moment the means of its rows and columns. */
  kind: z.enum(["adamw", "adafactor"]),
  /** Of a step's size; with `scaleParameter` a share of the weights' own. */
  learningRate: z.number().positive(),
  minLearningRate: z.number().min(0),
  schedule: z.enum(["cosine", "linear", "constant", "inverseSqrt", "wsd"]),
  /** Linear warm-up from 0. */
  warmup: trainingAmount,
  /** Where the decay ends (cosine, linear) or how long the final decay is (wsd). null: the duration; for wsd a fifth of it. */
  decay: trainingAmount.nullable(),
  /** Of the first moment. null: 0.9 (adamw), or 0, which has no first moment and takes no memory for it (adafactor). */
  beta1: z.number().min(0).lt(1).nullable(),
  /** Of the second moment, with Adam's correction of its bias. null: 0.99 (adamw), or 1 - step^-0.8 (adafactor). */
  beta2: z.number().min(0).lt(1).nullable(),
  /** Added to the root of the second moment (adamw; null: 1e-8), or to the squared gradients (adafactor; null: 1e-30). */
  eps: z.number().positive().nullable(),
  /** Multiply the learning rate by the root mean square of the parameter, at least 1e-3 (adafactor; null: true). adamw: null. */
  scaleParameter: z.boolean().nullable(),
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
  /** Start from the newest weights of another run, a checkpoint or a model of Hugging Face, with a fresh optimizer. */
  from: z.string().min(1).nullable(),
  model: modelSchema,
  objective: objectiveSchema,
  packing: packingSchema,
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
    /**
     * How the nodes send one another gradients. f32: as they are. bf16Gather: their sum is rounded to bfloat16, which
     * everybody gets and which takes three quarters of the bytes; the same bits for any number of nodes, one included.
     * bf16: the nodes' own sums are rounded, too, which takes half of the bytes; what a node loses by that it adds to its
     * next step. The same bits on all nodes, but others for another number of nodes.
     */
    wire: z.enum(["f32", "bf16Gather", "bf16"]),
  }),
  engine: z.strictObject({
    /** Keep only each block's input and run its forward again before its backward. */
    recompute: z.boolean(),
    /** Keep the partial sums of scale.virtualWorkers in the host's memory: more copies, the same bits. */
    hostSums: z.boolean(),
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
export type ObjectiveConfig = z.infer<typeof objectiveSchema>;
export type PackingConfig = z.infer<typeof packingSchema>;
export type OptimizerConfig = z.infer<typeof optimizerSchema>;
