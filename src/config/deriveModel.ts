import { UserError } from "../errors.ts";
import { ACTIVATIONS, ATTENTIONS, POSITIONS } from "./axes.ts";
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
  logitSoftCap: null,
  zLoss: 0,
  initStd: 0.02,
  scaledResidualInit: true,
} as const satisfies Partial<ModelSpec>;

const MAX_HEAD_DIM = 256;
/** Blocks are recorded one by one. */
const MAX_LAYERS = 1000;

/**
 * Fills in the sizes that a config leaves open, and refuses what makes no sense together. Numbers that belong to a choice
 * (rotaryFraction, t5NumBuckets, ...) wait for it, so that a choice can be changed by a single setting; those that are
 * null elsewhere (window, numEncoderLayers) must be null where they mean nothing.
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
  checkLayers(model);
  const fault = POSITIONS[model.positions].fault(model, headDim);
  if (fault !== null) fail(fault);
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

/** Does a layer of the decoder see only the last `window` keys? */
export function isBanded({ attention }: ModelSpec, layer: number): boolean {
  return ATTENTIONS[attention].banded(layer);
}

/** 4 modelDim; gated MLPs have three matrices for two, so two thirds of that, rounded down to a multiple of 8. */
function equalParameters({ modelDim, activation }: ModelConfig): number {
  return ACTIVATIONS[activation].gated ? Math.max(1, Math.floor(modelDim / 3)) * 8 : 4 * modelDim;
}

function checkLayers({ architecture, numLayers, numEncoderLayers, parallelResidual }: ModelConfig): void {
  for (const [key, layers] of Object.entries({ numLayers, numEncoderLayers })) {
    if (layers !== null && layers > MAX_LAYERS) {
      fail(`model.${key} is ${layers}, expected at most ${MAX_LAYERS}`);
    }
  }
  if (architecture !== "encoderDecoder" && numEncoderLayers !== null) {
    fail(
      `model.numEncoderLayers is ${numEncoderLayers}, but a ${architecture} has no encoder; ` +
        "set it to null, or model.architecture to encoderDecoder",
    );
  }
  if (architecture === "encoderDecoder" && parallelResidual) {
    fail(
      "model.parallelResidual is true, but in an encoderDecoder cross-attention comes between attention and MLP; " +
        "set it to false",
    );
  }
}

function checkAttention({ attention, window, architecture, numLayers }: ModelConfig): void {
  if (attention === "dense" && window !== null) {
    fail(
      `model.window is ${window}, but model.attention is dense; set it to null, or model.attention to banded or alternating`,
    );
  }
  if (attention !== "dense" && window === null) {
    fail(`model.window is null, expected the number of keys that a query of ${attention} attention sees`);
  }
  if (attention === "alternating" && numLayers < 2) {
    fail(
      "model.attention is alternating, but a single layer is dense; expected at least 2 layers, or banded",
    );
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
