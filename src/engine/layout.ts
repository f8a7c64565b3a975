/** The tensors of an engine that stay: parameters, gradients, the optimizer's state, the inputs of a step, its results. */
import { Arena, type EngineLimits, type Tensor } from "../gpu/tensor.ts";
import type { StackInputs, Table } from "../model/context.ts";
import { decays, modelParameters, type StackName } from "../model/parameters.ts";
import { positionTables } from "../model/positions.ts";
import { tokenInputs } from "../ops/embedding.ts";
import { createOptimizer, RING_FIELDS, RING_SLOTS } from "../ops/optimizer.ts";
import type { EngineSpec } from "./spec.ts";

export interface EngineTensors {
  readonly weights: Arena;
  readonly inputs: Arena;
  readonly decoder: StackInputs;
  readonly encoder: StackInputs | null;
  /** Source columns that each of the decoder's tokens sees. */
  readonly crossSpans: Tensor | null; // (B*T, 2)
  readonly samples: Tensor; // (B) sample ids
  readonly targets: Tensor; // (B*T)
  readonly losses: Tensor; // (B*T, 2)
  /** The running sum, and where those lie that wait for their twins in the tree. */
  readonly partials: readonly Partial[];
  /** What the optimizer remembers; none where the engine does not train. */
  readonly optimizerState: readonly Arena[];
  readonly control: Tensor;
  readonly ring: Tensor;
  /** Constants of the model, and their values. */
  readonly tables: ReadonlyMap<Tensor, Table>;
  /** All arenas that are to be allocated. */
  readonly arenas: readonly Arena[];
}

/** A partial sum over virtual workers. */
export interface Partial {
  readonly gradients: Arena;
  /** (4) sum of losses, of lse^2, number of targets; behind them, once the host reads it, a hash of the weights. */
  readonly sums: Arena;
}

/**
 * Partial sums that wait at the same time in the tree over V virtual workers, at most: a binary counter's digits that are
 * one. Beside them is the running sum.
 */
export function mostWaiting(virtualWorkers: number): number {
  return Math.floor(Math.log2(virtualWorkers));
}

/** Columns of the encoder's rows; 0: there is no encoder. */
export function sourceColumns({ model, columns, sourceColumns = columns }: EngineSpec): number {
  return model.numEncoderLayers > 0 ? sourceColumns : 0;
}

/** @throws RangeError if a tensor does not fit a buffer */
export function layOut(spec: EngineSpec, limits: EngineLimits): EngineTensors {
  const { model, training, microBatchSize: B, columns: T } = spec;
  const S = sourceColumns(spec);
  const arena = (name: string) => new Arena(name, limits.maxBuffer);
  const weights = arena("weights");
  const parameters = modelParameters(model);
  // Those with weight decay lie together, so that the optimizer needs few dispatches.
  for (const wanted of [true, false]) {
    for (const { name, shape } of parameters) if (decays(shape) === wanted) weights.add(name, shape);
  }
  const inputs = arena("inputs");
  const decoder = stackInputs(inputs, "", model.numLayers, B, T);
  const encoder = S > 0 ? stackInputs(inputs, "encoder.", model.numEncoderLayers, B, S) : null;
  const crossSpans = S > 0 ? inputs.add("cross spans", [B * T, 2], "u32") : null;
  const samples = inputs.add("samples", [B], "u32");
  const targets = inputs.add("targets", [B * T], "i32");
  const results = arena("losses");
  const losses = results.add("losses", [B * T, 2]);
  const waiting = training === null || training.hostSums ? 0 : mostWaiting(training.virtualWorkers);
  const partials = Array.from({ length: waiting + 1 }, (_, index): Partial => {
    const sums = arena(`sums ${index}`);
    sums.add("sums", [4]);
    return { gradients: training ? weights.like(`gradients ${index}`) : arena("no gradients"), sums };
  });
  const optimizerState = training ? createOptimizer(training.optimizer).layOut(weights) : [];
  const controlArena = arena("control");
  const control = controlArena.add("control", [4]);
  const ringArena = arena("ring");
  const ring = ringArena.add("ring", [RING_SLOTS, RING_FIELDS]);
  const tableArena = arena("tables");
  const tables = new Map(
    positionTables(model, Math.max(T, S)).map((table) => {
      return [tableArena.add(table.name, table.shape, table.dtype), table];
    }),
  );
  return {
    weights,
    inputs,
    decoder,
    encoder,
    crossSpans,
    samples,
    targets,
    losses,
    partials,
    optimizerState,
    control,
    ring,
    tables,
    arenas: [
      weights,
      inputs,
      results,
      ...partials.flatMap(({ gradients, sums }) => [gradients, sums]),
      ...optimizerState,
      controlArena,
      ringArena,
      tableArena,
    ],
  };
}

/** Inputs of B rows of T tokens. */
export function stackInputs(
  arena: Arena,
  name: StackName,
  numLayers: number,
  B: number,
  T: number,
): StackInputs {
  return {
    name,
    numLayers,
    columns: T,
    tokens: tokenInputs(arena, B * T),
    places: tokenInputs(arena, B * T, "distinctPlaces"),
    spans: arena.add("spans", [B * T, 2], "u32"),
    caches: null,
  };
}
