import type { ModelSpec } from "../config/deriveModel.ts";
import { type NamedValues, readWeights } from "../formats/hf/read.ts";
import { takePiece } from "../formats/hf/tensors.ts";
import type { TensorSource } from "../formats/safetensors.ts";
import { readStudyConfig, type StudyModel } from "../formats/study.ts";
import { formatOf, ownFormat, readModelConfig } from "../train/modelFormat.ts";
import { expectFinite } from "./tensors.ts";

/** A tensor of the case's files: a parameter, or some rows of it. */
export interface CaseTensor {
  /** The parameter's name in our model. */
  readonly name: string;
  readonly fileName: string;
  /** In the files. */
  readonly shape: readonly number[];
  /** The whole parameter's values in our layout -> the tensor's in the files' layout. */
  toFile(values: Float32Array): Float32Array;
}

/** The model of a reference case. */
export interface CaseModel extends StudyModel {
  readonly tensors: readonly CaseTensor[];
  /** In our names and layout, one at a time. @throws UserError for a tensor that is not as config.json says */
  weights(source: TensorSource): Iterable<NamedValues>;
}

/**
 * Reads the config.json of a reference case: a Hugging Face model or a study model.
 *
 * @param has does the model's file have this tensor?
 * @throws UserError for a config that is damaged, or that needs options that do not exist, which are named
 */
export function readCaseModel(config: unknown, has: (tensor: string) => boolean): CaseModel {
  const isStudy = !("model_type" in Object(config));
  const { spec: model, packing } = isStudy
    ? readStudyConfig(config)
    : { spec: readModelConfig(config, has), packing: { separate: false, restartPositions: false } };
  const spec: ModelSpec = { ...model, dropout: 0, attentionDropout: 0 }; // cases are computed without
  const format = isStudy ? ownFormat : formatOf(config);
  const tensors = format.tensors(spec);
  return {
    spec,
    packing,
    tensors: tensors.flatMap((tensor) =>
      tensor.pieces.map((piece) => ({
        name: tensor.name,
        fileName: piece.name,
        shape: piece.shape,
        toFile: (values) => takePiece(tensor, piece, values),
      }))
    ),
    *weights(source) {
      const fileNames = new Map(tensors.map(({ name, pieces: [first] }) => [name, first.name]));
      for (const parameter of readWeights(source, format, spec)) {
        expectFinite(parameter.values, source, fileNames.get(parameter.name) ?? parameter.name);
        yield parameter;
      }
    },
  };
}
