/** The grid of models: its axes, and a small set of models in which every two values of two axes meet. */
import { POSITIONS } from "../../src/config/axes.ts";
import { deriveModel, type ModelSpec, PLAIN_GPT } from "../../src/config/deriveModel.ts";
import type { UpdateRule } from "../../src/config/deriveUpdate.ts";
import { MODEL_AXES } from "../../src/config/modelAxes.ts";
import type { ModelConfig } from "../../src/config/schema.ts";
import { type Choice, coverPairs } from "./coveringArray.ts";
import { type TinyMask, TRAINING } from "./tiny.ts";

const { architecture: _, ...KINDS } = MODEL_AXES;

const AXES = {
  ...KINDS,
  rows: ["causal", "separate", "restarted", "prefix", "source"],
  numKvHeads: [null, 2, 1],
  headDim: [null, 4, 36],
  dropout: [0, 0.1],
  attentionDropout: [0, 0.2],
  rotaryFraction: [1, 0.5],
  logitSoftCap: [null, 1.5],
  zLoss: [0, 0.1],
  initStd: [0.02, null],
  optimizer: ["adamw", "adafactor"],
} as const;

type GridChoice = Choice<typeof AXES>;

/** What the rows of a model are: its architecture, and what their tokens see. */
const ROWS: Readonly<
  Record<GridChoice["rows"], { architecture: ModelSpec["architecture"]; mask: TinyMask }>
> = {
  causal: { architecture: "causalDecoder", mask: "plain" },
  separate: { architecture: "causalDecoder", mask: "separate" },
  restarted: { architecture: "causalDecoder", mask: "packed" },
  prefix: { architecture: "nonCausalDecoder", mask: "prefix" },
  source: { architecture: "encoderDecoder", mask: "plain" },
};

/** Sizes that are no multiple of anything. */
const SIZES = { numLayers: 2, modelDim: 12, numHeads: 4, ffnDim: 17, seqLen: 7 } as const;

const VOCABULARY = 11;

const OPTIMIZERS: Readonly<Record<GridChoice["optimizer"], UpdateRule>> = {
  adamw: TRAINING.optimizer,
  adafactor: { kind: "adafactor", beta1: 0, beta2: null, eps: 1e-30, weightDecay: 0, scaleParameter: true },
};

/** A model of the grid, as a config derives it. */
export interface GridModel {
  readonly name: string;
  readonly model: ModelSpec;
  readonly mask: TinyMask;
  readonly optimizer: UpdateRule;
}

function makesSense(
  { rows, attention, parallelResidual, positions, headDim }: Partial<GridChoice>,
): boolean {
  if (rows === "prefix" && attention !== undefined && attention !== "dense") return false;
  if (rows === "source" && parallelResidual === true) return false;
  return positions === undefined || POSITIONS[positions].pairs === null || headDim !== null; // 3 dimensions: no pairs
}

/** A config with the values of a choice. */
function configOf({ rows, optimizer: _, ...choice }: GridChoice): ModelConfig {
  const { architecture } = ROWS[rows];
  return {
    ...PLAIN_GPT,
    ...SIZES,
    ...choice,
    architecture,
    numEncoderLayers: architecture === "encoderDecoder" ? 1 : null,
    vocabSize: null,
    window: choice.attention === "dense" ? null : 3,
    t5NumBuckets: 4,
    t5MaxDistance: 5,
  };
}

/** What a choice has that is not the first of its axis. */
function nameOf(choice: GridChoice): string {
  const firsts: Record<string, unknown> = Object.fromEntries(
    Object.entries(AXES).map(([axis, [first]]) => [axis, first]),
  );
  return JSON.stringify(
    Object.fromEntries(Object.entries(choice).filter(([axis, value]) => value !== firsts[axis])),
  );
}

/** Every two values of two axes that make sense together are in one of these. */
export function gridModels(): GridModel[] {
  return coverPairs(AXES, makesSense).map((choice) => ({
    name: nameOf(choice),
    model: deriveModel(configOf(choice), VOCABULARY),
    mask: ROWS[choice.rows].mask,
    optimizer: OPTIMIZERS[choice.optimizer],
  }));
}
