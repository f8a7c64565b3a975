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

/** Waits for everything queued. @param into (sumLength), by default a new array @throws Error if it is longer or shorter */
export async function readSum<Buffer extends ArrayBufferLike = ArrayBuffer>(
  runtime: Runtime,
  partial: Partial,
  into?: Float32Array<Buffer>,
): Promise<Float32Array<Buffer>> {
  const length = sumLength(partial);
  const values = into ?? new Float32Array(length) as Float32Array<Buffer>;
  if (values.length !== length) throw new Error(`Room for ${values.length} values, expected ${length}`);
  await runtime.readInto(slicesOf(partial), values);
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
