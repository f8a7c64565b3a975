import { z } from "zod";
import { UserError } from "../errors.ts";
import { checked } from "./checked.ts";

const positiveInt = z.int().positive();

const studySchema = z.strictObject({
  numLayers: positiveInt,
  modelDim: positiveInt,
  numHeads: positiveInt,
  numKvHeads: positiveInt,
  ffnDim: positiveInt,
  vocabSize: positiveInt,
  /** Rows of the learned position table. */
  seqLen: positiveInt,
  positions: z.enum(["none", "learned", "sinusoidal", "rotary", "rotaryInterleaved", "alibi", "t5"]),
  rotaryBase: z.number().positive(),
  /** Share of the head's dimensions that is rotated. */
  rotaryFraction: z.number().positive().max(1),
  t5NumBuckets: positiveInt,
  t5MaxDistance: positiveInt,
  activation: z.enum(["gelu", "geluErf", "relu", "silu", "swiglu", "geglu"]),
  norm: z.enum(["layernorm", "rmsnorm"]),
  normEps: z.number().positive(),
  /** A LayerNorm right after the token embedding. */
  embeddingNorm: z.boolean(),
  attention: z.enum(["dense", "banded", "alternating"]),
  /** Keys that a banded layer sees, the query's own included. */
  window: positiveInt.nullable(),
  objective: z.enum(["causal", "prefix"]),
  /** Several documents in a row, told apart by doc_ids. */
  packed: z.boolean(),
  restartPositions: z.boolean(),
  tied: z.boolean(),
  /** Of linear layers and LayerNorms. */
  bias: z.boolean(),
  parallelResidual: z.boolean(),
  zLoss: z.number().min(0),
  /** How the weights were drawn; not needed to read them. */
  initStd: z.number().min(0).optional(),
  scaledResidualInit: z.boolean().optional(),
});

/** A model of the architecture grid, as `reference.py` of the reference data defines it. */
export type StudyArchitecture = z.infer<typeof studySchema>;

/**
 * Reads the config.json of a study model.
 * @throws UserError for an unknown or missing key, a value out of range, or options that exclude each other.
 */
export function readStudyConfig(json: unknown): StudyArchitecture {
  const config = checked(studySchema, json, "config.json");
  const { modelDim, numHeads, numKvHeads, positions, rotaryFraction, attention, window, objective } = config;
  if (modelDim % numHeads !== 0) fail(`modelDim ${modelDim} is no multiple of numHeads ${numHeads}`);
  if (numHeads % numKvHeads !== 0) fail(`numHeads ${numHeads} is no multiple of numKvHeads ${numKvHeads}`);
  if ((attention === "dense") !== (window === null)) {
    fail(
      `attention is "${attention}" and window is ${window}, but a window goes with banded or alternating only`,
    );
  }
  if (objective === "prefix" && (attention !== "dense" || config.packed)) {
    fail(`objective is "prefix", which is defined for dense attention and rows that are not packed`);
  }
  if (config.restartPositions && !config.packed) fail("restartPositions is true, but packed is false");
  const rotated = modelDim / numHeads * rotaryFraction;
  if (positions.startsWith("rotary") && rotated % 2 !== 0) {
    fail(
      `rotaryFraction ${rotaryFraction} rotates ${rotated} dimensions of each head, expected an even number`,
    );
  }
  return config;
}

function fail(fault: string): never {
  throw new UserError(`config.json: ${fault}`);
}
