import { z } from "zod";
import { type ModelSpec, PLAIN_GPT } from "../config/deriveModel.ts";
import { modelSchema, type PackingConfig, packingSchema } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { checked, derived } from "./checked.ts";

const positiveInt = z.int().positive();

/** Options as in a run's config, but for these. */
const studySchema = z.strictObject({
  // Those that the reference data don't define may be left out: a plain GPT has them as they were before they existed.
  ...modelSchema.omit({ architecture: true, numEncoderLayers: true, dropout: true, attentionDropout: true })
    .partial().shape,
  ...modelSchema.pick({
    ...{ numLayers: true, modelDim: true, numHeads: true, seqLen: true },
    ...{ positions: true, rotaryBase: true, rotaryFraction: true, t5NumBuckets: true, t5MaxDistance: true },
    ...{ activation: true, norm: true, normEps: true, embeddingNorm: true, parallelResidual: true },
    ...{ attention: true, window: true, bias: true, tied: true, zLoss: true },
  }).shape,
  numKvHeads: positiveInt,
  ffnDim: positiveInt,
  vocabSize: positiveInt,
  objective: z.enum(["causal", "prefix"]),
  /** Several documents in a row, told apart by doc_ids. */
  packed: packingSchema.shape.separate,
  restartPositions: packingSchema.shape.restartPositions,
  /** How the weights were drawn; not needed to read them. */
  initStd: z.number().min(0).optional(),
  scaledResidualInit: z.boolean().optional(),
});

/** A model of the architecture grid, as `reference.py` of the reference data defines it. */
export interface StudyModel {
  readonly spec: ModelSpec;
  /** How documents share a row. */
  readonly packing: PackingConfig;
}

/**
 * Reads the config.json of a study model.
 * @throws UserError for an unknown or missing key, a value out of range, or options that exclude each other.
 */
export function readStudyConfig(json: unknown): StudyModel {
  const { objective, packed, restartPositions, initStd: _, scaledResidualInit: __, ...options } = checked(
    studySchema,
    json,
    "config.json",
  );
  if (objective === "prefix" && packed) {
    fail(`objective is "prefix", which is defined for rows that are not packed`);
  }
  if (restartPositions && !packed) fail("restartPositions is true, but packed is false");
  const spec = derived({
    ...{ ...PLAIN_GPT, headDim: null },
    ...options,
    architecture: objective === "prefix" ? "nonCausalDecoder" : "causalDecoder",
    numEncoderLayers: null,
  }, options.vocabSize);
  return { spec, packing: { separate: packed, restartPositions } };
}

function fail(fault: string): never {
  throw new UserError(`config.json: ${fault}`);
}
