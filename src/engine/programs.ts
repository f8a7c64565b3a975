/**
 * What an engine runs, recorded: a micro-batch's forward and backward, evaluation, the fixed tree, the update.
 * Nothing here touches a device, so that memory and operations are known before anything is allocated.
 */
import type { ModelSpec } from "../config/derive.ts";
import type { Placement } from "../gpu/place.ts";
import { place } from "../gpu/place.ts";
import { poolBytes, uniformBytes } from "../gpu/program.ts";
import { Arena, type EngineLimits, type Tensor } from "../gpu/tensor.ts";
import { LIVE_BYTES } from "../gpu/kernel.ts";
import type { ModelContext } from "../model/block.ts";
import { blockSegment, decoder, headWeight } from "../model/decoder.ts";
import { decays, modelParameters } from "../model/parameters.ts";
import { addAll } from "../ops/add.ts";
import { crossEntropy } from "../ops/crossEntropy.ts";
import { type TokenInputs, tokenInputs } from "../ops/embedding.ts";
import { Graph } from "../ops/graph.ts";
import { linear } from "../ops/linear.ts";
import { recordUpdate, RING_FIELDS, RING_SLOTS } from "../ops/optimizer.ts";
import { lastRow } from "../ops/lastRow.ts";

/** What an engine is made for. */
export interface EngineSpec {
  readonly model: ModelSpec;
  /** Rows of the largest micro-batch, B. */
  readonly microBatchSize: number;
  /** Tokens in a row, T; at most model.seqLen where positions are learned. */
  readonly columns: number;
  /** null: the engine evaluates and generates, but does not train. */
  readonly training: TrainingSpec | null;
}

export interface TrainingSpec {
  readonly seed: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly clip: number;
  readonly virtualWorkers: number;
  readonly recompute: boolean;
}

/** The tensors of an engine, by what they are for. */
export interface EngineTensors {
  readonly weights: Arena;
  readonly inputs: Arena;
  readonly tokens: TokenInputs;
  readonly samples: Tensor; // (B) sample ids
  readonly targets: Tensor; // (B*T)
  readonly losses: Tensor; // (B*T, 2)
  /** Gradients and sums of the running virtual worker; the first of the tree's. */
  readonly partials: readonly Partial[];
  readonly moments: readonly [Arena, Arena] | null;
  readonly control: Tensor;
  readonly ring: Tensor;
  /** All arenas that are to be allocated. */
  readonly arenas: readonly Arena[];
}

/** A partial sum over virtual workers. */
export interface Partial {
  readonly gradients: Arena;
  /** (4) sum of losses, of lse^2, number of targets. */
  readonly sums: Arena;
}

export interface EnginePrograms {
  readonly tensors: EngineTensors;
  /** Forward and backward of a micro-batch. */
  readonly train: Placement | null;
  /** Forward and losses of a micro-batch, without dropout. */
  readonly evaluate: Placement;
  /** For each level of the tree: adds that level's partial sum to the running one. */
  readonly addLevel: readonly Placement[];
  readonly update: Placement | null;
}

/** Partial sums that wait in a tree over V virtual workers: a binary counter's digits. */
export function treeLevels(virtualWorkers: number): number {
  return virtualWorkers < 2 ? 0 : Math.floor(Math.log2(virtualWorkers - 1)) + 1;
}

/** @throws RangeError if a tensor's row does not fit a binding, or a tensor a buffer */
export function recordPrograms(spec: EngineSpec, limits: EngineLimits): EnginePrograms {
  const { model, training } = spec;
  const tensors = layOut(spec, limits);
  const loss = {
    targets: tensors.targets,
    losses: tensors.losses,
    sums: tensors.partials[0].sums.tensors[0],
  };

  const evaluation = new Graph(limits, { parameterGradients: null });
  const context = modelContext(evaluation, spec, tensors.weights, null);
  const hidden = decoder(context, tensors.tokens);
  // A step that is under way keeps its sums.
  const rowLoss = { ...loss, sums: null };
  evaluation.segment(
    "head",
    () => crossEntropy(evaluation, hidden, headWeight(context), rowLoss, model.zLoss),
  );

  return {
    tensors,
    evaluate: place(evaluation),
    train: training && place(recordTraining(spec, training, limits, tensors, loss)),
    addLevel: tensors.partials.slice(1).map((level) => place(recordAdd(limits, tensors.partials[0], level))),
    update: training && place(recordOptimizer(limits, training, tensors)),
  };
}

function layOut(spec: EngineSpec, limits: EngineLimits): EngineTensors {
  const { model, training, microBatchSize: B, columns: T } = spec;
  const arena = (name: string) => new Arena(name, limits.maxBuffer);
  const weights = arena("weights");
  const parameters = modelParameters(model);
  // Those with weight decay lie together, so that the optimizer needs few dispatches.
  for (const wanted of [true, false]) {
    for (const { name, shape } of parameters) if (decays(shape) === wanted) weights.add(name, shape);
  }
  const inputs = arena("inputs");
  const tokens = tokenInputs(inputs, B * T);
  const samples = inputs.add("samples", [B], "u32");
  const targets = inputs.add("targets", [B * T], "i32");
  const results = arena("losses");
  const losses = results.add("losses", [B * T, 2]);
  const levels = training === null ? 0 : treeLevels(training.virtualWorkers);
  const partials = Array.from({ length: levels + 1 }, (_, level): Partial => {
    const sums = arena(`sums ${level}`);
    sums.add("sums", [4]);
    return { gradients: training ? weights.like(`gradients ${level}`) : arena("no gradients"), sums };
  });
  const moments = training && [weights.like("moment1"), weights.like("moment2")] as const;
  const controlArena = arena("control");
  const control = controlArena.add("control", [4]);
  const ringArena = arena("ring");
  const ring = ringArena.add("ring", [RING_SLOTS, RING_FIELDS]);
  return {
    weights,
    inputs,
    tokens,
    samples,
    targets,
    losses,
    partials,
    moments,
    control,
    ring,
    arenas: [
      weights,
      inputs,
      results,
      ...partials.flatMap(({ gradients, sums }) => [gradients, sums]),
      ...(moments ?? []),
      controlArena,
      ringArena,
    ],
  };
}

function modelContext(
  graph: Graph,
  { model, microBatchSize, columns }: EngineSpec,
  weights: Arena,
  dropoutKeys: ModelContext["dropoutKeys"],
): ModelContext {
  const byName = new Map(weights.tensors.map((tensor) => [tensor.name, tensor]));
  return {
    graph,
    spec: model,
    parameter: (name) => weights.get(name),
    optional: (name) => byName.get(name) ?? null,
    batch: microBatchSize,
    columns,
    dropoutKeys,
    caches: null,
  };
}

function recordTraining(
  spec: EngineSpec,
  training: TrainingSpec,
  limits: EngineLimits,
  tensors: EngineTensors,
  loss: Parameters<typeof crossEntropy>[3],
): Graph {
  const { weights, partials: [{ gradients }] } = tensors;
  const parameterGradients = new Map(weights.tensors.map((tensor, i) => [tensor, gradients.tensors[i]]));
  const graph = new Graph(limits, { parameterGradients });
  const context = modelContext(graph, spec, weights, { seed: training.seed, samples: tensors.samples });
  const hidden = decoder(context, tensors.tokens);
  graph.segment("head", () => crossEntropy(graph, hidden, headWeight(context), loss, spec.model.zLoss));
  const blocks = Array.from({ length: spec.model.numLayers }, (_, layer) => blockSegment(layer));
  graph.backward(new Set(training.recompute ? blocks : []));
  return graph;
}

function recordAdd(limits: EngineLimits, running: Partial, level: Partial): Graph {
  const graph = new Graph(limits, { parameterGradients: null });
  graph.segment("tree", () => {
    for (const part of ["gradients", "sums"] as const) {
      running[part].flat().forEach((tensor, i) => addAll(graph, tensor, level[part].flat()[i]));
    }
  });
  return graph;
}

function recordOptimizer(limits: EngineLimits, training: TrainingSpec, tensors: EngineTensors): Graph {
  const { weights, partials: [{ gradients, sums }], moments, control, ring } = tensors;
  const [moment1, moment2] = moments!;
  const graph = new Graph(limits, { parameterGradients: null });
  recordUpdate(graph, { weights, gradients, moment1, moment2, sums: sums.tensors[0], control, ring }, {
    ...training,
    decays: ({ shape }) => decays(shape),
  });
  return graph;
}

/** A forward over a whole micro-batch whose logits come out. */
export interface LogitsProgram {
  readonly placement: Placement;
  readonly arena: Arena;
  /** (B*T, V) */
  readonly logits: Tensor;
}

export function recordLogits(spec: EngineSpec, limits: EngineLimits, tensors: EngineTensors): LogitsProgram {
  const graph = new Graph(limits, { parameterGradients: null });
  const context = modelContext(graph, spec, tensors.weights, null);
  const hidden = decoder(context, tensors.tokens);
  const arena = new Arena("logits", limits.maxBuffer);
  const logits = arena.add("logits", [spec.microBatchSize * spec.columns, spec.model.vocabSize]);
  graph.segment("head", () => linear(graph, hidden, headWeight(context), null, logits));
  return { placement: place(graph), arena, logits };
}

/** A forward over the next tokens of one row, with a cache of keys and values of those before. */
export interface NextProgram {
  /** For up to PREFILL tokens at once, and for one. */
  readonly placements: readonly [Placement, Placement];
  readonly arenas: readonly Arena[];
  readonly tokens: TokenInputs;
  /** (1, V) of the last of the tokens. */
  readonly logits: Tensor;
}

/** Tokens of a prompt that go through the model at once. */
export const PREFILL = 64;

/** @param cacheRows positions that the cache has room for */
export function recordNext(
  spec: EngineSpec,
  cacheRows: number,
  limits: EngineLimits,
  tensors: EngineTensors,
): NextProgram {
  const { numLayers, numKvHeads, headDim, vocabSize } = spec.model;
  const arena = (name: string) => new Arena(name, limits.maxBuffer);
  const [cacheArena, inputs, outputs] = [arena("cache"), arena("next tokens"), arena("next logits")];
  const shape = [1, cacheRows, 2 * numKvHeads * headDim];
  const caches = Array.from({ length: numLayers }, (_, layer) => cacheArena.add(`cache ${layer}`, shape));
  const tokens = tokenInputs(inputs, PREFILL);
  const logits = outputs.add("logits", [1, vocabSize]);
  const record = (columns: number) => {
    const graph = new Graph(limits, { parameterGradients: null });
    const one = { ...spec, microBatchSize: 1, columns };
    const context = { ...modelContext(graph, one, tensors.weights, null), caches };
    const hidden = decoder(context, { ...tokens, ids: tokens.ids.part(columns) });
    graph.segment("head", () => linear(graph, lastRow(graph, hidden), headWeight(context), null, logits));
    return place(graph);
  };
  return { placements: [record(PREFILL), record(1)], arenas: [cacheArena, inputs, outputs], tokens, logits };
}

/** Bytes that an engine takes, by what they are for. */
export function countBytes({ tensors, train, evaluate, addLevel, update }: EnginePrograms) {
  const placements = [train, evaluate, ...addLevel, update].filter((placement) => placement !== null);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const weights = tensors.weights.bytes;
  const gradients = sum(tensors.partials.map(({ gradients }) => gradients.bytes));
  const moments = sum((tensors.moments ?? []).map(({ bytes }) => bytes));
  const all = sum(tensors.arenas.map(({ bytes }) => bytes));
  const other = LIVE_BYTES + sum(placements.map(uniformBytes));
  const activations = sum(poolBytes(placements));
  return {
    weights,
    gradients,
    moments,
    /** Pooled activations, and the inputs, losses and uniforms beside them. */
    activations: activations + other + all - weights - gradients - moments,
    total: all + activations + other,
  };
}

/** Floating-point operations of a placement, at the recorded size. */
export function countFlops({ segments }: Placement): number {
  return segments.reduce((sum, { dispatches }) => dispatches.reduce((s, { flops }) => s + flops, sum), 0);
}
