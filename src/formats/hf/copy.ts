import type { StreamedTensor, TensorSource } from "../safetensors.ts";
import type { StoredWeights } from "./read.ts";
import { encodeValues, type StoredDtype } from "./write.ts";

/**
 * The tensors of a file as another file of the same architecture has them, under their usual names. They are copied in
 * parts, so that none is ever in memory as a whole.
 *
 * @param dtypeOf what a tensor is to be stored in, by its name in the source
 */
export function tensorsToCopy(
  source: TensorSource,
  { tensors, nameOf }: StoredWeights,
  dtypeOf: (name: string) => StoredDtype,
): StreamedTensor[] {
  return tensors.flatMap(({ pieces }) => pieces).map((piece) => {
    const name = nameOf(piece);
    const dtype = dtypeOf(name);
    const values = () => Promise.resolve(recoded(source, name, dtype));
    return { name: piece.name, shape: piece.shape, dtype, values };
  });
}

function* recoded(source: TensorSource, name: string, dtype: StoredDtype): Generator<Uint8Array> {
  if (source.tensors.get(name)?.dtype === dtype) yield* source.readByteParts(name);
  else for (const part of source.readParts(name)) yield encodeValues(part, dtype, name);
}
