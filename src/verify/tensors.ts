import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import type { TensorSource } from "../formats/safetensors.ts";

/** The shape of a tensor that must be there. @throws UserError if it is not */
export function shapeOf(source: TensorSource, name: string): readonly number[] {
  const found = source.tensors.get(name);
  if (found === undefined) throw new UserError(`${quote(source.name)} lacks the tensor ${quote(name)}`);
  return found.shape;
}

/** @throws UserError if the tensor is missing, or of another shape than `shape` */
export function expectShape(source: TensorSource, name: string, shape: readonly number[]): void {
  const found = shapeOf(source, name);
  if (String(found) !== String(shape)) {
    throw new UserError(
      `The tensor ${quote(name)} of ${quote(source.name)} has shape [${found}], expected [${shape}]`,
    );
  }
}

/** Values of a tensor. @throws UserError if it is missing, of another shape, or holds NaN or infinity */
export function readFinite(
  source: TensorSource,
  name: string,
  shape: readonly number[],
): Float32Array<ArrayBuffer> {
  expectShape(source, name, shape);
  const values = source.read(name);
  expectFinite(values, source, name);
  return values;
}

/** @throws UserError if a value is NaN or infinite */
export function expectFinite(values: Float32Array, source: TensorSource, name: string): void {
  const found = values.find((value) => !Number.isFinite(value));
  if (found !== undefined) {
    throw new UserError(
      `The tensor ${quote(name)} of ${quote(source.name)} holds ${found}, expected finite values`,
    );
  }
}

/**
 * Values of a tensor of token ids.
 *
 * @param vocabSize ids are from 0 to below it
 * @param other an id outside of the vocabulary that is allowed
 * @throws UserError if the tensor is missing, of another shape, or holds another id
 */
export function readIds(
  source: TensorSource,
  name: string,
  shape: readonly number[],
  vocabSize: number,
  other?: number,
): Int32Array<ArrayBuffer> {
  expectShape(source, name, shape);
  const ids = source.readInt(name);
  const at = ids.findIndex((id) => (id < 0 || id >= vocabSize) && id !== other);
  if (at >= 0) {
    const allowed = `0 to ${vocabSize - 1}${other === undefined ? "" : ` or ${other}`}`;
    throw new UserError(
      `The tensor ${quote(name)} of ${quote(source.name)} holds the id ${
        ids[at]
      } at ${at}, expected ${allowed}`,
    );
  }
  return ids;
}
