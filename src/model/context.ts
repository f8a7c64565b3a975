/** What a model's pieces are recorded with. */
import type { ModelSpec } from "../config/deriveModel.ts";
import type { HostArray } from "../gpu/program.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";
import { dropout } from "../ops/dropout.ts";
import type { TokenInputs } from "../ops/embedding.ts";
import type { Graph } from "../ops/graph.ts";
import { linear } from "../ops/linear.ts";
import { norm } from "../ops/norm.ts";
import type { StackName } from "./parameters.ts";

export interface ModelContext {
  readonly graph: Graph;
  readonly spec: ModelSpec;
  /** @throws Error if the model has no such parameter. */
  parameter(name: string): Tensor;
  /** null: the model has no such parameter (biases). */
  optional(name: string): Tensor | null;
  /** A constant of the model, see `positionTables()`. */
  table(name: string): Tensor;
  readonly batch: number; // B
  /** Keys of dropout; null: no dropout. */
  readonly dropoutKeys: { readonly seed: number; readonly samples: Tensor } | null;
}

/** The rows that a decoder or an encoder works on. */
export interface StackInputs {
  readonly name: StackName;
  readonly numLayers: number;
  readonly columns: number; // T, or S for the encoder
  readonly tokens: TokenInputs; // (B*T)
  /** Where each token stands. */
  readonly places: TokenInputs; // (B*T)
  /** The columns that each token sees. */
  readonly spans: Tensor; // (B*T, 2)
  /** Keys and values of earlier calls, of each layer. */
  readonly caches: readonly Tensor[] | null; // (B*S, 2 NK HS)
}

/** What a decoder's blocks see of an encoder. */
export interface SourceInputs {
  readonly columns: number; // S
  /** The source columns that each of the decoder's tokens sees. */
  readonly spans: Tensor; // (B*T, 2)
  /** Keys and values of each layer. */
  readonly keysAndValues: readonly Tensor[]; // (B*S, 2 NK HS)
}

/** Values that a model needs and does not learn. */
export interface Table {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  values(): HostArray;
}

/** Dropout at a place of the model; each has a number of its own. */
export function dropoutAt({ spec, dropoutKeys, graph }: ModelContext, x: Tensor, site: number): Tensor {
  return dropoutKeys === null ? x : dropout(graph, x, spec.dropout, { ...dropoutKeys, site });
}

/**
 * The number of a place of a stack that drops: its layers have six each. A decoder's first three are where a decoder
 * without an encoder has them.
 */
export function dropoutSite(stack: StackName, layer: number, place: number): number {
  const decoder = 1 + 3 * layer + place;
  return stack === "" && place < 3 ? decoder : 0x100000 * (stack === "" ? 1 : 2) + 6 * layer + place;
}

/** @param kind of norm, where it is not the model's */
export function normAt(
  { graph, spec, parameter, optional }: ModelContext,
  name: string,
  x: Tensor,
  kind = spec.norm,
): Tensor {
  return norm(graph, kind, x, parameter(`${name}.weight`), optional(`${name}.bias`), spec.normEps);
}

export function linearAt({ graph, parameter, optional }: ModelContext, name: string, x: Tensor): Tensor {
  return linear(graph, x, parameter(`${name}.weight`), optional(`${name}.bias`));
}
