/** What rounding has lost, in a checkpoint: a file beside those that all nodes have alike, and outside of the digest. */
import { join } from "@std/path";
import { openSafetensors, type TensorToWrite } from "../formats/safetensors.ts";
import type { ErrorFeedback } from "./errorFeedback.ts";

export const RESIDUAL_FILE = "residual.safetensors";
const NAME = "residual";

export function residualTensor({ residual }: ErrorFeedback): TensorToWrite {
  return { name: NAME, dtype: "F32", shape: [residual.length], values: () => Promise.resolve(residual) };
}

/** Of a checkpoint whose files have been verified. */
export function readResidual(checkpoint: string): Float32Array {
  using source = openSafetensors(join(checkpoint, RESIDUAL_FILE));
  return source.read(NAME);
}
