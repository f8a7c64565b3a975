import type { ModelSpec } from "../config/deriveModel.ts";
import type { OptimizerOptions } from "../ops/optimizer.ts";

/** What an engine is made for. */
export interface EngineSpec {
  readonly model: ModelSpec;
  /** Rows of the largest micro-batch, B. */
  readonly microBatchSize: number;
  /** Tokens in a row, T; at most model.seqLen where positions are learned. */
  readonly columns: number;
  /** Tokens in a row of the encoder, S, where there is one. Default: T. */
  readonly sourceColumns?: number;
  /** null: the engine evaluates and generates, but does not train. */
  readonly training: TrainingSpec | null;
}

export interface TrainingSpec {
  readonly seed: number;
  readonly optimizer: OptimizerOptions;
  /** Largest global gradient norm; 0: no clipping. */
  readonly clip: number;
  readonly virtualWorkers: number;
  /** Partial sums over virtual workers wait in the host's memory, not the GPU's. */
  readonly hostSums?: boolean;
  readonly recompute: boolean;
}
