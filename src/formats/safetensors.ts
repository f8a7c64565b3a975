/** Reading and writing safetensors files: https://huggingface.co/docs/safetensors. */
export type { Dtype } from "./safetensors/dtype.ts";
export { hasModelWeights, openModelFolder } from "./safetensors/folder.ts";
export type { TensorInfo } from "./safetensors/header.ts";
export { openSafetensors, parseSafetensors, type TensorSource } from "./safetensors/read.ts";
export {
  encodeSafetensors,
  type StreamedTensor,
  type TensorToWrite,
  writeSafetensors,
  type WrittenDigests,
} from "./safetensors/write.ts";
