import type { Batch } from "../data/batch.ts";

/**
 * What the trainer needs of a GPU: the model's state and the four moves of a training step.
 *
 * Two implementations: on the caller's thread (`localEngine.ts`) and in a Worker of its own (`workerEngine.ts`).
 * Calls are executed in order. A promise of `accumulate`, `endWorker` and `update` resolves when the work is queued,
 * not when it is done; what came out is read with `metrics()`.
 */
export interface Engine {
  readonly report: EngineReport;

  /** Copies a tensor of the state to the GPU. */
  write(kind: StateKind, name: string, values: Float32Array): Promise<void>;
  /**
   * Copies a tensor of the state, or a gradient, to the host. Waits for everything queued; reads that are asked for one
   * right after the other, without awaiting each, share their waits.
   */
  read(kind: StateKind | "gradient", name: string): Promise<Float32Array>;

  /**
   * Begins a sum: the virtual worker's gradients and sums are 0.
   *
   * @param workers virtual workers that it is over, those of a whole subtree of the run's tree; default: all
   */
  beginStep(workers?: number): Promise<void>;
  /**
   * Forward and backward of a micro-batch (at most report.microBatchSize rows); gradients of the SUM of losses are added up.
   *
   * @throws the signal's reason if it comes in the middle: the sum is then of no use, begin another
   */
  accumulate(micro: Batch, step: number, signal?: AbortSignal): Promise<void>;
  /** Adds what virtual worker `index` has accumulated to the fixed tree, and clears it. */
  endWorker(index: number): Promise<void>;
  /**
   * The tree's sum (report.sumLength), to be added to other nodes' sums. Waits for everything queued.
   *
   * Its last value is no sum, but a hash of the weights that it was made with, an integer below 2^24: take it away before
   * sums are added.
   *
   * @param into shared memory that gets it, and is returned; by default a new array
   */
  readSum(into?: Float32Array<ArrayBufferLike>): Promise<Float32Array>;
  /**
   * For the last micro-batch of a sum, whose virtual workers before have ended: what `accumulate`, `endWorker` and
   * `readSum` do, but values come to the host while backward still makes others. The engine's own sum is of no use after.
   *
   * @param into (sumLength), shared memory; the same bits as those of `readSum`
   * @param parts in which it comes, about: each stops the GPU for a moment
   * @param onFinal values [from, to) are there and stay as they are; told of each value once
   * @throws the signal's reason if it comes first: nothing more is written then
   */
  finishSum(
    last: LastBatch,
    into: Float32Array<ArrayBufferLike>,
    parts: number,
    onFinal: (from: number, to: number) => void,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Puts another sum in its place. */
  writeSum(values: Float32Array): Promise<void>;
  /** The optimizer's step on the tree's sum, divided by its number of targets. Does nothing once the halt flag is up. */
  update(update: Update): Promise<void>;
  /** Results of all updates since the last call, in order. Waits for everything queued. */
  metrics(): Promise<StepResult[]>;
  /** Takes the halt flag down again, after the host has decided what to do. */
  clearHalt(): Promise<void>;

  /**
   * Sums over the targets of a batch, without dropout: forward only. Waits for the result.
   *
   * @throws the signal's reason if it comes first
   */
  evaluate(batch: Batch, signal?: AbortSignal): Promise<LossSums>;
  /** Logits (rows * columns, V) of a batch of at most microBatchSize rows, without dropout. */
  logits(batch: Batch): Promise<Float32Array>;
  /** What the encoder reads, at most report.columns tokens, for the calls of `next` that follow. Only where there is one. */
  encode(tokens: Int32Array): Promise<void>;
  /**
   * Logits (V) of the token after `tokens`, which stand at positions `start` on; what was given for the positions before
   * is remembered.
   */
  next(tokens: Int32Array, start: number): Promise<Float32Array>;
  /** Waits until all that was queued is done. */
  idle(): Promise<void>;
  /** Frees the GPU's memory; the engine is of no use after. */
  close(): Promise<void>;
}

/** The last micro-batch of a sum. */
export interface LastBatch {
  readonly micro: Batch;
  readonly step: number;
  /** The last virtual worker, whose micro-batch it is. */
  readonly worker: number;
}

/** The parameters, and what the optimizer remembers of them: `report.optimizerState` names it. */
export type StateKind = "weights" | "optimizer";

export interface Update {
  /** Counts from 1; the optimizer's count, too. */
  readonly step: number;
  readonly learningRate: number;
}

export interface StepResult {
  readonly step: number;
  readonly lossSum: number;
  /** Sum of logsumexp^2 (0 without z-loss). */
  readonly zSum: number;
  readonly targetCount: number;
  /** Global norm of the mean gradient, before clipping. */
  readonly gradNorm: number;
  /** True if loss or norm were not finite, or an earlier step had raised the flag: the update was not applied. */
  readonly halted: boolean;
}

export interface LossSums {
  /** (B) sum of the cross entropies of each row's targets, in nats. */
  readonly rowLoss: Float32Array;
  readonly targetCount: number;
}

export interface EngineReport {
  readonly adapter: string;
  readonly isSoftware: boolean;
  /** Rows of the largest micro-batch. */
  readonly microBatchSize: number;
  /** Tokens in a row. */
  readonly columns: number;
  readonly parameters: readonly ParameterInfo[];
  /** Tensors `<parameter>.<what>`; none where the engine does not train. */
  readonly optimizerState: readonly TensorInfo[];
  readonly bytes: {
    readonly weights: number;
    readonly gradients: number;
    /** What the optimizer remembers. */
    readonly moments: number;
    /** Activations, and beside them inputs, losses, uniforms and copies on their way to the host. */
    readonly activations: number;
    /** The most that the engine holds at any time of a training. */
    readonly total: number;
  };
  /** Values of a step's sum: gradients and losses; 0 where the engine does not train. */
  readonly sumLength: number;
  /** Of a whole forward and backward of one token. */
  readonly flopsPerToken: number;
  readonly startup: { deviceMs: number; compileMs: number; recordMs: number; placeMs: number };
}

export interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface ParameterInfo extends TensorInfo {
  /** Weight decay applies: true for two dimensions. */
  readonly decays: boolean;
}
