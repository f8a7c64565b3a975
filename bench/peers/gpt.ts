/** What a training step is, for every library that is compared. */

/** A GPT with learned positions, pre-LN, biases, tanh GELU, causal dense attention and a tied head. */
export interface Gpt {
  readonly numLayers: number;
  readonly modelDim: number;
  readonly numHeads: number;
  readonly vocabSize: number;
  /** Rows of the position table; a batch may have fewer columns T. */
  readonly seqLen: number;
}

/** AdamW after a clip of the global gradient norm; the decay is for tensors of two dimensions. */
export interface AdamW {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** The largest global gradient norm. */
  readonly clip: number;
}

/** A model in training on the device. */
export interface StepRun {
  /**
   * One step: forward, backward, clip, AdamW. Settled when it is queued; nothing waits for the device.
   *
   * @param inputs (B, T) token ids.
   * @param targets (B, T) ids to predict; a negative one has no loss.
   * @param learningRate of this step, else the optimizer's.
   */
  step(
    inputs: Int32Array<ArrayBuffer>,
    targets: Int32Array<ArrayBuffer>,
    learningRate?: number,
  ): Promise<void>;
  /** Mean cross-entropy (natural log) before each step since the last call, once the device has done them all. */
  losses(): Promise<number[]>;
  dispose(): void;
}

/** A library to compare with. */
export interface StepPeer {
  readonly name: string;
  /** @param weights by name: `tok_emb` (V, C), `blocks.N.attn.qkv.weight` (3C, C), ...; matrices are (out, in). */
  create(
    model: Gpt,
    batch: number,
    optimizer: AdamW,
    weights: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  ): Promise<StepRun>;
}

/** The shape of the parameter `name` of `size` elements: biases and norms have one dimension, matrices are (out, in). */
export function parameterShape(model: Gpt, name: string, size: number): number[] {
  const C = model.modelDim;
  if (name.includes("norm") || name.endsWith(".bias")) return [size];
  return name.endsWith(".mlp.down.weight") ? [C, size / C] : [size / C, C];
}
