/** Carries the tree's sum between the GPU and the host, for those who add it to other nodes' sums. */
import type { Runtime } from "../gpu/program.ts";
import type { Slice } from "../gpu/tensor.ts";
import type { Partial } from "./layout.ts";

/** Bytes that are written between two waits: until then the driver holds a copy of them. */
const WRITE_BYTES = 2 ** 24;

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
  const portion = WRITE_BYTES / values.BYTES_PER_ELEMENT;
  let from = 0;
  for (const { tensor, length } of slicesOf(partial)) {
    for (let at = 0; at < length; at += portion) {
      const part = values.subarray(from + at, from + Math.min(at + portion, length));
      runtime.write({ tensor, at, length: part.length }, part);
      runtime.flush();
      if (at + portion < length) await runtime.idle();
    }
    from += length;
  }
}
