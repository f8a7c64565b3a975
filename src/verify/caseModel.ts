import { deriveModel, type ModelSpec } from "../config/derive.ts";
import { modelSchema } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { gpt2Tensors, readGpt2Config, readGpt2Weights, transpose } from "../formats/hf/gpt2.ts";
import { quote } from "../formats/file.ts";
import type { TensorSource } from "../formats/safetensors.ts";
import { readStudyConfig, type StudyArchitecture } from "../formats/study.ts";
import { modelParameters, type Parameter } from "../model/parameters.ts";
import { expectFinite, readFinite } from "./tensors.ts";

/** A parameter in the case's files. */
export interface CaseTensor {
  /** Its name in our model. */
  readonly name: string;
  readonly fileName: string;
  /** In the files. */
  readonly shape: readonly number[];
  /** Values in our layout -> values in the files' layout. */
  toFile(values: Float32Array): Float32Array;
}

/** The model of a reference case. */
export interface CaseModel {
  readonly spec: ModelSpec;
  readonly tensors: readonly CaseTensor[];
  /** In our names and layout, one at a time. @throws UserError for a tensor that is not as config.json says */
  weights(source: TensorSource): Iterable<{ name: string; values: Float32Array<ArrayBuffer> }>;
}

/** Reference cases are computed without dropout, and how weights start is of no interest where they are given. */
const NOT_IN_CASES = { dropout: 0, attentionDropout: 0, initStd: 0.02, scaledResidualInit: true };

/**
 * Reads the config.json of a reference case: a Hugging Face model or a study model.
 *
 * @throws UserError for a config that is damaged, or that needs options that do not exist, which are named
 */
export function readCaseModel(config: unknown): CaseModel {
  const modelType = (Object(config) as { model_type?: unknown }).model_type;
  if (modelType === undefined) return studyModel(readStudyConfig(config));
  if (modelType === "gpt2") return gpt2Model(config);
  throw missing([`model_type=${quote(modelType)} (there is "gpt2")`]);
}

function gpt2Model(config: unknown): CaseModel {
  const architecture = readGpt2Config(config);
  const { dropout: _, ...sizes } = architecture;
  const tensors = gpt2Tensors(architecture);
  const fileNames = new Map(tensors.map(({ name, hfName }) => [name, hfName]));
  return {
    spec: deriveModel(
      {
        ...sizes,
        ...NOT_IN_CASES,
        numKvHeads: null,
        positions: "learned",
        norm: "layernorm",
        bias: true,
        zLoss: 0,
      },
      sizes.vocabSize,
    ),
    tensors: tensors.map(({ name, hfName, shape, transpose: turned }) => ({
      name,
      fileName: hfName,
      shape: turned ? shape.toReversed() : shape,
      toFile: (values) => turned ? transpose(values, shape[0], shape[1]) : values,
    })),
    *weights(source) {
      for (const { name, values } of readGpt2Weights(source, architecture)) {
        expectFinite(values, source, fileNames.get(name) ?? name);
        yield { name, values };
      }
    },
  };
}

/** What options of the study that our models do not have must be set to. */
const NEUTRAL: Partial<StudyArchitecture> = {
  embeddingNorm: false,
  attention: "dense",
  objective: "causal",
  packed: false,
  restartPositions: false,
  parallelResidual: false,
};

function studyModel(study: StudyArchitecture): CaseModel {
  const given = new Map(Object.entries(study));
  const isOurs = (option: string) => option in modelSchema.shape;
  const lacking = Object.entries(NEUTRAL).filter(([option, neutral]) => {
    return !isOurs(option) && given.get(option) !== neutral;
  });
  const config = Object.fromEntries([...given].filter(([option]) => isOurs(option)));
  const parsed = modelSchema.safeParse({ ...config, ...NOT_IN_CASES });
  const absent = [
    ...lacking.map(([option, neutral]) =>
      `${option}=${quote(given.get(option))} (there is ${quote(neutral)})`
    ),
    ...(parsed.error?.issues ?? []).map(({ path: [option], message }) => {
      return `${String(option)}=${quote(given.get(String(option)))} (${
        message.replace(/^.*: expected/, "there is")
      })`;
    }),
  ];
  if (!parsed.success || absent.length > 0) throw missing(absent);
  const spec = deriveModel(parsed.data, study.vocabSize);
  const parameters = modelParameters(spec);
  return {
    spec,
    tensors: parameters.map(({ name, shape }) => ({
      name,
      fileName: name,
      shape,
      toFile: (values) => values,
    })),
    weights: (source) => studyWeights(source, parameters),
  };
}

function* studyWeights(source: TensorSource, parameters: readonly Parameter[]) {
  const known = new Set(parameters.map(({ name }) => name));
  const unknown = [...source.tensors.keys()].find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new UserError(
      `${quote(source.name)} has the tensor ${quote(unknown)}, which a model of this config lacks`,
    );
  }
  for (const { name, shape } of parameters) yield { name, values: readFinite(source, name, shape) };
}

/** @param options `option=value (there is ...)` */
function missing(options: readonly string[]): UserError {
  return new UserError(`The case needs what does not exist yet: ${options.join(", ")}`);
}
