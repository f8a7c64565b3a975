/** Carries the tree's sum between the GPU and the host, for those who add it to other nodes' sums. */
import type { Runtime } from "../gpu/program.ts";
import type { Slice } from "../gpu/tensor.ts";
import type { Partial } from "./layout.ts";
import { StagedWrites } from "./stagedWrites.ts";

/** Gradients as their arena holds them, zeros between tensors included, then the sums (4). */
function slicesOf({ gradients, sums }: Partial): Slice[] {
  return [...gradients.flat(), sums.tensors[0]].map((tensor) => tensor.whole());
}

/** The number of values of a sum. */
export function sumLength(partial: Partial): number {
  return slicesOf(partial).reduce((total, { length }) => total + length, 0);
}

/** Waits for everything queued. @returns (sumLength) */
export async function readSum(runtime: Runtime, partial: Partial): Promise<Float32Array<ArrayBuffer>> {
  const parts = await runtime.readAll(slicesOf(partial));
  const values = new Float32Array(sumLength(partial));
  let at = 0;
  for (const part of parts) {
    values.set(part, at);
    at += part.length;
  }
  return values;
}

/** @param values (sumLength) @throws Error if there are more or fewer */
export async function writeSum(
  runtime: Runtime,
  partial: Partial,
  values: Float32Array<ArrayBuffer>,
): Promise<void> {
  if (values.length !== sumLength(partial)) {
    throw new Error(`A sum of ${values.length} values, expected ${sumLength(partial)}`);
  }
  const writes = new StagedWrites(runtime);
  let from = 0;
  for (const slice of slicesOf(partial)) {
    await writes.write(slice, values.subarray(from, from + slice.length));
    from += slice.length;
  }
}
