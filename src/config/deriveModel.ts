import { UserError } from "../errors.ts";
import type { ModelConfig } from "./schema.ts";

/** A model with every size decided. */
export interface ModelSpec
  extends
    Omit<ModelConfig, "numKvHeads" | "headDim" | "ffnDim" | "vocabSize" | "numEncoderLayers" | "initStd"> {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly ffnDim: number;
  readonly vocabSize: number;
  /** 0: there is no encoder. */
  readonly numEncoderLayers: number;
  readonly initStd: number;
}

/** GPT-2's choices, sizes left out: what a model is that names no other. */
export const PLAIN_GPT = {
  architecture: "causalDecoder",
  numEncoderLayers: 0,
  positions: "learned",
  rotaryBase: 10000,
  rotaryFraction: 1,
  t5NumBuckets: 32,
  t5MaxDistance: 128,
  activation: "gelu",
  norm: "layernorm",
  normEps: 1e-5,
  embeddingNorm: false,
  qkNorm: false,
  parallelResidual: false,
  attention: "dense",
  window: null,
  scaleScores: true,
  scaleOutput: false,
  bias: true,
  tied: true,
  dropout: 0,
  attentionDropout: 0,
  zLoss: 0,
  initStd: 0.02,
  scaledResidualInit: true,
} as const satisfies Partial<ModelSpec>;

const MAX_HEAD_DIM = 256;

/**
 * Fills in the sizes that a config leaves open.
 *
 * @param vocabSize the tokenizer's
 * @throws UserError for sizes or options that don't fit together
 */
export function deriveModel(model: ModelConfig, vocabSize: number): ModelSpec {
  const { modelDim, numHeads, architecture, numEncoderLayers } = model;
  const numKvHeads = model.numKvHeads ?? numHeads;
  if (model.headDim === null && modelDim % numHeads !== 0) {
    fail(
      `model.modelDim is ${modelDim}, expected a multiple of model.numHeads (${numHeads}), or model.headDim`,
    );
  }
  if (numHeads % numKvHeads !== 0) {
    fail(`model.numHeads is ${numHeads}, expected a multiple of model.numKvHeads (${numKvHeads})`);
  }
  const headDim = model.headDim ?? modelDim / numHeads;
  if (headDim > MAX_HEAD_DIM) {
    const fewest = Math.ceil(modelDim / MAX_HEAD_DIM);
    fail(
      model.headDim === null
        ? `model.modelDim / model.numHeads is ${headDim}, expected at most ${MAX_HEAD_DIM}: at least ${fewest} heads`
        : `model.headDim is ${headDim}, expected at most ${MAX_HEAD_DIM}`,
    );
  }
  if (model.vocabSize !== null && model.vocabSize < vocabSize) {
    fail(`model.vocabSize is ${model.vocabSize}, expected at least the tokenizer's ${vocabSize}`);
  }
  const hasEncoder = architecture === "encoderDecoder";
  if (!hasEncoder && numEncoderLayers !== null) {
    fail(
      `model.numEncoderLayers is ${numEncoderLayers}, but a ${architecture} has no encoder; expected null`,
    );
  }
  checkPositions(model, headDim);
  checkAttention(model);
  return {
    ...model,
    numKvHeads,
    headDim,
    ffnDim: model.ffnDim === "equal-parameters" ? equalParameters(model) : model.ffnDim,
    vocabSize: model.vocabSize ?? vocabSize,
    numEncoderLayers: hasEncoder ? numEncoderLayers ?? model.numLayers : 0,
    initStd: model.initStd ?? Math.sqrt(1 / (3 * modelDim)),
  };
}

/** Does the MLP multiply two projections, so that its first layer has 2 ffnDim rows? */
export function isGated(activation: ModelConfig["activation"]): boolean {
  return activation.endsWith("glu") || activation === "gegluTanh";
}

/** The dimensions of a head that rotary positions turn; 0 for other kinds. */
export function rotaryDim({ positions, rotaryFraction }: ModelConfig | ModelSpec, headDim: number): number {
  return positions === "rotary" || positions === "rotaryInterleaved" ? headDim * rotaryFraction : 0;
}

/** Does a layer of the decoder see only the last `window` keys? */
export function isBanded({ attention }: ModelSpec, layer: number): boolean {
  return attention === "banded" || (attention === "alternating" && layer % 2 === 1);
}

/** The number of weights; a tied head and a table that all layers share count once. */
export function parameterCount(spec: ModelSpec): number {
  const { modelDim: C, numHeads: NH, numKvHeads: NK, headDim: HS, ffnDim: F, vocabSize: V } = spec;
  const bias = spec.bias ? 1 : 0;
  const linear = (outputs: number, inputs: number) => outputs * (inputs + bias);
  const norm = C * (spec.norm === "layernorm" ? 1 + bias : 1);
  const headNorms = spec.qkNorm ? 2 * HS : 0;
  const attention = linear((NH + 2 * NK) * HS, C) + linear(C, NH * HS) + headNorms;
  const mlp = linear(isGated(spec.activation) ? 2 * F : F, C) + linear(C, F);
  const stacks = spec.numEncoderLayers > 0 ? 2 : 1;
  const positions = { learned: spec.seqLen * C, t5: spec.t5NumBuckets * NH };
  const table = spec.positions === "learned" || spec.positions === "t5" ? positions[spec.positions] : 0;
  const block = 2 * norm + attention + mlp;
  const cross = spec.numEncoderLayers > 0 ? norm + attention : 0; // queries, then keys and values, of a decoder block
  return V * C * (spec.tied ? 1 : 2) + (spec.embeddingNorm ? C * (1 + bias) : 0) + stacks * (table + norm) +
    spec.numEncoderLayers * block + spec.numLayers * (block + cross);
}

/** 4 modelDim; gated MLPs have three matrices for two, so two thirds of that, rounded down to a multiple of 8. */
function equalParameters({ modelDim, activation }: ModelConfig): number {
  return isGated(activation) ? Math.max(1, Math.floor(modelDim / 3)) * 8 : 4 * modelDim;
}

function checkPositions(model: ModelConfig, headDim: number): void {
  const { positions, modelDim, rotaryFraction, t5NumBuckets, t5MaxDistance } = model;
  const rotated = rotaryDim(model, headDim);
  if (rotated % 2 !== 0) {
    fail(
      `model.rotaryFraction is ${rotaryFraction}, which rotates ${rotated} of a head's ${headDim} dimensions; expected an even number`,
    );
  }
  if (positions === "sinusoidal" && modelDim % 2 !== 0) {
    fail(`model.modelDim is ${modelDim}, expected an even number for sinusoidal positions`);
  }
  if (positions !== "t5") return;
  if (t5NumBuckets % 4 !== 0) {
    fail(`model.t5NumBuckets is ${t5NumBuckets}, expected a multiple of 4: half is exact, in each direction`);
  }
  if (t5MaxDistance <= t5NumBuckets / 2) {
    fail(
      `model.t5MaxDistance is ${t5MaxDistance}, expected more than half of model.t5NumBuckets (${t5NumBuckets})`,
    );
  }
}

function checkAttention({ attention, window, architecture }: ModelConfig): void {
  if (attention === "dense" && window !== null) {
    fail(
      `model.window is ${window}, but model.attention is dense; expected banded or alternating, or no window`,
    );
  }
  if (attention !== "dense" && window === null) {
    fail(`model.window is null, expected the number of keys that a query of ${attention} attention sees`);
  }
  if (attention !== "dense" && architecture === "nonCausalDecoder") {
    fail(
      `model.attention is ${attention}, but a nonCausalDecoder's prefix sees all of itself; expected dense`,
    );
  }
}

function fail(message: string): never {
  throw new UserError(message);
}
