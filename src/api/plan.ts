import { deriveRun } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import { statCorpus } from "../data/corpus.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import { type EnginePlan, planEngine } from "../engine/plan.ts";
import { hostSumBytes } from "../engine/report.ts";
import { copiedBytes } from "../engine/stagedSum.ts";
import { countParameters } from "../model/parameters.ts";
import { largestPiece, memberMemory } from "../net/member/memberMemory.ts";
import { feedbackBytes } from "../train/errorFeedback.ts";
import { readSourceModel, requireModelOf } from "../train/fromModel.ts";
import type { Wire } from "../train/wire.ts";
import { datasetOptions, engineSpec, expectedVocabulary, sumTravel } from "./parts.ts";
import { resolveSettings, type RunSettings } from "./settings.ts";

/** What a run would take. */
export interface Plan
  extends Pick<EnginePlan, "adapter" | "isSoftware" | "microBatchSize" | "bytes" | "obstacle"> {
  /** null: the text was not read, since `model.vocabSize` is given and nothing else depends on it. */
  readonly corpus: Pick<Dataset, "source" | "trainTokens" | "validationTokens"> | null;
  /** Numbers in the weights. */
  readonly parameters: number;
  /** Floating point operations of a step with a whole batch, forward and backward. */
  readonly flopsPerStep: number;
  readonly totalSteps: number;
  /** The host's memory beside the engine's. Where the adapter is a software driver both are the machine's. */
  readonly hostBytes: HostBytes;
}

/** Bytes of the host's memory. */
export interface HostBytes {
  /** Partial sums that wait for their twins, at most, and the one that they are added to, where `engine.hostSums` keeps them here. */
  readonly waiting: number;
  /**
   * Where `scale.wire` rounds gradients: what error feedback keeps and, of a node that trains alone, the sum that it
   * rounds.
   */
  readonly rounding: number;
  /** In a group of so many nodes; null: one node trains alone. */
  readonly group: GroupBytes | null;
}

/** What a node of a group takes beside what it would take alone, and the most that a node takes. */
export interface GroupBytes {
  readonly nodes: number;
  /**
   * The partial sums of a node's share, what it gets of others', and the sum.
   */
  readonly sums: number;
  /** Gradients on their way from the GPU, about. */
  readonly copies: number;
  /** Data on its way between nodes. */
  readonly links: number;
  /** While a newcomer copies from this node: a copy of the state, and sums to catch up with. */
  readonly newcomer: number;
}

export interface PlanOptions {
  /** As for `train`; nothing is written there. */
  readonly folder?: string | null;
  /** A GPU of the caller's. */
  readonly device?: GPUDevice;
  /** Nodes of the group that trains. Default: 1. */
  readonly nodes?: number;
}

/**
 * What a run would take, without allocating anything on the GPU or writing anything; also where it would not fit.
 *
 * @throws UserError for a mistake in the settings or the data, or if there is no GPU adapter
 *
 * @example
 * ```ts
 * const { parameters, bytes } = await plan({ preset: "default", model: { numLayers: 12 } });
 * ```
 */
export async function plan(settings: RunSettings = {}, options: PlanOptions = {}): Promise<Plan> {
  const { config, text } = await resolveSettings(settings, options.folder);
  return await planRun(config, { ...options, text });
}

/** As `plan`, from a whole config. @param options.text the text itself, in place of `config.data` */
export async function planRun(
  config: RunConfig,
  options: PlanOptions & { readonly text?: string } = {},
): Promise<Plan> {
  const source = config.from === null ? null : await readSourceModel(config.from, options.folder ?? null);
  const expected = expectedVocabulary(config, source);
  engineSpec(config, expected); // mistakes in the model show before the text is read
  const dataset = config.model.vocabSize === null
    ? await openDataset(datasetOptions(config, source, null, options.text))
    : null;
  if (dataset === null && options.text === undefined && config.data !== null) await statCorpus(config.data);
  const spec = engineSpec(config, dataset ?? expected);
  if (source !== null) requireModelOf(source, spec.model);
  const { maxBinding } = config.engine;
  const planned = await planEngine(spec, { maxBinding, device: options.device });
  const { adapter, isSoftware, microBatchSize, bytes, flopsPerToken, obstacle } = planned;
  const { nodes = 1 } = options;
  return {
    ...{ adapter, isSoftware, microBatchSize, bytes, obstacle },
    corpus: dataset && describe(dataset),
    parameters: countParameters(spec.model),
    flopsPerStep: flopsPerToken * config.train.batchSize * spec.columns,
    totalSteps: deriveRun(config).totalSteps,
    hostBytes: {
      waiting: config.engine.hostSums
        ? hostSumBytes(planned.sumLength, largestPiece(config.scale.virtualWorkers, nodes))
        : 0,
      rounding: roundingBytes(planned.sumLength, config.scale.wire, nodes),
      group: nodes === 1 ? null : groupBytes(planned, config.scale, nodes),
    },
  };
}

function groupBytes(
  { sumLength, bytes }: EnginePlan,
  { virtualWorkers, wire }: RunConfig["scale"],
  nodes: number,
): GroupBytes {
  const { sums, links, newcomer } = memberMemory(sumLength, virtualWorkers, nodes, sumTravel(wire));
  const state = bytes.weights + bytes.moments;
  return { nodes, sums, copies: copiedBytes(sumLength), links, newcomer: newcomer + state };
}

function roundingBytes(sumLength: number, wire: Wire, nodes: number): number {
  const sum = wire !== "f32" && nodes === 1 ? Float32Array.BYTES_PER_ELEMENT * sumLength : 0;
  return sum + (wire === "bf16" ? feedbackBytes(sumLength) : 0);
}

function describe({ source, trainTokens, validationTokens }: Dataset): Plan["corpus"] {
  return { source, trainTokens, validationTokens };
}
