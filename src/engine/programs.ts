/**
 * What an engine runs, recorded: a micro-batch's forward and backward, evaluation, the fixed tree, the update.
 * Nothing here touches a device, so that memory and operations are known before anything is allocated.
 */
import { place, type Placement } from "../gpu/place.ts";
import { Arena, type EngineLimits, type Tensor } from "../gpu/tensor.ts";
import type { ModelContext, SourceInputs, StackInputs } from "../model/context.ts";
import { decays } from "../model/parameters.ts";
import { blockSegment, head, headWeight, runEncoder, runStack } from "../model/stack.ts";
import { addAll, addInto } from "../ops/add.ts";
import { crossEntropy } from "../ops/crossEntropy.ts";
import { Graph } from "../ops/graph.ts";
import { lastRow } from "../ops/lastRow.ts";
import { createOptimizer, recordUpdate } from "../ops/optimizer.ts";
import { recordStateHash } from "../ops/stateHash.ts";
import { type EngineTensors, layOut, type Partial, sourceColumns, stackInputs } from "./layout.ts";
import type { EngineSpec, TrainingSpec } from "./spec.ts";

export interface EnginePrograms {
  readonly tensors: EngineTensors;
  /** Forward and backward of a micro-batch. */
  readonly train: Placement | null;
  /** Forward and losses of a micro-batch, without dropout. */
  readonly evaluate: Placement;
  /** For each place where a partial sum waits: adds it to the running one. */
  readonly addWaiting: readonly Placement[];
  readonly update: Placement | null;
}

/** All that an engine loads at its start. */
export function placementsOf({ train, evaluate, addWaiting, update }: EnginePrograms): Placement[] {
  return [evaluate, ...addWaiting, train, update].filter((placement) => placement !== null);
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
  const context = modelContext(evaluation, spec, tensors, null);
  const hidden = runModel(context, tensors);
  // A step that is under way keeps its sums.
  const rowLoss = { ...loss, sums: null };
  evaluation.segment(
    "head",
    () => crossEntropy(evaluation, hidden, headWeight(context), rowLoss, model),
  );

  return {
    tensors,
    evaluate: place(evaluation),
    train: training && place(recordTraining(spec, training, limits, tensors, loss)),
    addWaiting: tensors.partials.slice(1).map((other) =>
      place(recordAdd(limits, tensors.partials[0], other))
    ),
    update: training && place(recordOptimizer(limits, training, tensors)),
  };
}

function modelContext(
  graph: Graph,
  { model, microBatchSize }: EngineSpec,
  { weights, tables }: EngineTensors,
  dropoutKeys: ModelContext["dropoutKeys"],
): ModelContext {
  const byName = new Map(weights.tensors.map((tensor) => [tensor.name, tensor]));
  const tablesByName = new Map([...tables.keys()].map((tensor) => [tensor.name, tensor]));
  const known = (map: ReadonlyMap<string, Tensor>, name: string) => {
    const tensor = map.get(name);
    if (tensor === undefined) throw new Error(`The model has no ${name}`);
    return tensor;
  };
  return {
    graph,
    spec: model,
    parameter: (name) => known(byName, name),
    optional: (name) => byName.get(name) ?? null,
    table: (name) => known(tablesByName, name),
    batch: microBatchSize,
    dropoutKeys,
  };
}

/** What the head reads: (B*T, C). */
function runModel(context: ModelContext, { decoder, encoder, crossSpans }: EngineTensors): Tensor {
  const source = encoder && crossSpans &&
    { columns: encoder.columns, spans: crossSpans, keysAndValues: runEncoder(context, encoder) };
  return runStack(context, decoder, source);
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
  const context = modelContext(graph, spec, tensors, { seed: training.seed, samples: tensors.samples });
  const hidden = runModel(context, tensors);
  graph.segment("head", () => crossEntropy(graph, hidden, headWeight(context), loss, spec.model));
  const blocks = [tensors.decoder, tensors.encoder].flatMap((stack) =>
    Array.from({ length: stack?.numLayers ?? 0 }, (_, layer) => blockSegment(stack!.name, layer))
  );
  graph.backward(new Set(training.recompute ? blocks : []));
  return graph;
}

/** As `addWaiting`, of some of a partial sum's tensors. */
export function recordAddSome(
  limits: EngineLimits,
  running: readonly Tensor[],
  waiting: readonly Tensor[],
): Placement {
  const graph = new Graph(limits, { parameterGradients: null });
  graph.segment("tree", () => running.forEach((tensor, i) => addAll(graph, tensor, waiting[i])));
  return place(graph);
}

/** A hash of the weights, which goes behind the sums of the running partial sum. */
export function recordWeightsHash(limits: EngineLimits, { weights, partials }: EngineTensors): Placement {
  const graph = new Graph(limits, { parameterGradients: null });
  recordStateHash(graph, weights, partials[0].sums.tensors[0]);
  return place(graph);
}

function recordAdd(limits: EngineLimits, running: Partial, waiting: Partial): Graph {
  const graph = new Graph(limits, { parameterGradients: null });
  graph.segment("tree", () => {
    for (const part of ["gradients", "sums"] as const) {
      running[part].flat().forEach((tensor, i) => addAll(graph, tensor, waiting[part].flat()[i]));
    }
  });
  return graph;
}

function recordOptimizer(limits: EngineLimits, training: TrainingSpec, tensors: EngineTensors): Graph {
  const { weights, partials: [{ gradients, sums }], optimizerState: state, control, ring } = tensors;
  const graph = new Graph(limits, { parameterGradients: null });
  recordUpdate(
    graph,
    {
      weights,
      gradients,
      state,
      sums: sums.tensors[0],
      control,
      ring,
      decays: ({ shape }) => decays(shape),
    },
    createOptimizer(training.optimizer),
    training.clip,
  );
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
  const context = modelContext(graph, spec, tensors, null);
  const hidden = runModel(context, tensors);
  const arena = new Arena("logits", limits.maxBuffer);
  const logits = arena.add("logits", [spec.microBatchSize * spec.columns, spec.model.vocabSize]);
  graph.segment("head", () => head(context, hidden, logits));
  return { placement: place(graph), arena, logits };
}

/** A forward over the next tokens of one row, with a cache of keys and values of those before. */
export interface NextProgram {
  /** For up to `prefill` tokens at once, for one, and for the source where there is an encoder. */
  readonly placements: readonly [Placement, Placement, ...Placement[]];
  readonly arenas: readonly Arena[];
  readonly prefill: number;
  readonly decoder: StackInputs;
  readonly encoder: StackInputs | null;
  readonly crossSpans: Tensor | null; // (prefill, 2)
  /** (1, V) of the last of the tokens. */
  readonly logits: Tensor;
}

/** Tokens of a prompt that go through the model at once, unless all of them must. */
const PREFILL = 64;

/** The cache has room for spec.columns positions. */
export function recordNext(spec: EngineSpec, limits: EngineLimits, tensors: EngineTensors): NextProgram {
  const { numLayers, numEncoderLayers, numKvHeads, headDim, vocabSize, architecture } = spec.model;
  const arena = (name: string) => new Arena(name, limits.maxBuffer);
  const [cacheArena, inputs, outputs] = [arena("cache"), arena("next tokens"), arena("next logits")];
  // The tokens of a prefix see one another, so that they go through every layer together.
  const prefill = architecture === "nonCausalDecoder" ? spec.columns : Math.min(PREFILL, spec.columns);
  const S = sourceColumns(spec);
  const perLayer = (name: string, shape: readonly number[]) =>
    Array.from({ length: numLayers }, (_, layer) => cacheArena.add(`${name} ${layer}`, shape));
  const caches = perLayer("cache", [spec.columns, 2 * numKvHeads * headDim]);
  const keysAndValues = S > 0 ? perLayer("source", [S, 2 * numKvHeads * headDim]) : [];
  const decoder = { ...stackInputs(inputs, "", numLayers, 1, prefill), caches };
  const encoder = S > 0 ? stackInputs(inputs, "encoder.", numEncoderLayers, 1, S) : null;
  const crossSpans = S > 0 ? inputs.add("cross spans", [prefill, 2], "u32") : null;
  const logits = outputs.add("logits", [1, vocabSize]);

  const begin = () => {
    const graph = new Graph(limits, { parameterGradients: null });
    return { graph, context: modelContext(graph, { ...spec, microBatchSize: 1 }, tensors, null) };
  };
  const record = (columns: number) => {
    const { graph, context } = begin();
    const source: SourceInputs | null = crossSpans &&
      { columns: S, spans: crossSpans.part(columns), keysAndValues };
    const hidden = runStack(context, firstColumns(decoder, columns), source);
    graph.segment("head", () => head(context, lastRow(graph, hidden), logits));
    return place(graph);
  };
  const recordSource = (encoder: StackInputs) => {
    const { graph, context } = begin();
    const made = runEncoder(context, encoder);
    graph.inStack(
      1,
      () => keysAndValues.forEach((tensor, layer) => addInto(graph, { tensor, accumulate: 0 }, made[layer])),
    );
    return place(graph);
  };
  return {
    placements: [record(prefill), record(1), ...(encoder ? [recordSource(encoder)] : [])],
    arenas: [cacheArena, inputs, outputs],
    prefill,
    decoder,
    encoder,
    crossSpans,
    logits,
  };
}

/** The inputs of a single row, of which only the first columns are in use. */
function firstColumns(stack: StackInputs, columns: number): StackInputs {
  const { tokens, places, spans } = stack;
  return {
    ...stack,
    columns,
    tokens: { ...tokens, ids: tokens.ids.part(columns) },
    places: { ...places, ids: places.ids.part(columns) },
    spans: spans.part(columns),
  };
}
