import { preferVulkan } from "../engine/environment.ts";
import { UserError } from "../errors.ts";
import { type GpuOptions, openGpu } from "../gpu/device.ts";
import { verifyFolder } from "../verify/caseFolder.ts";
import type { Comparison } from "../verify/comparison.ts";
import { verifyOps } from "../verify/device.ts";

/** `device`: a GPU of the caller's, in place of the one that is found. */
export interface VerifyOptions extends GpuOptions {
  /** Ends the work before its next comparison: the generator throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Is this GPU and its driver right? Yields what was computed beside its reference, on the caller's thread.
 *
 * @param folder a reference case; null: every op, forward and backward, against the CPU in f64
 * @throws UserError if there is no GPU, the folder is no reference case, or a case can't be run
 *
 * @example
 * ```ts
 * for await (const { case: name, quantity, ok } of verify()) if (!ok) console.log(name, quantity);
 * ```
 */
export async function* verify(
  folder: string | null = null,
  options: VerifyOptions = {},
): AsyncGenerator<Comparison> {
  for await (const comparison of folder === null ? verifyDevice(options) : verifyFolder(folder, options)) {
    options.signal?.throwIfAborted();
    yield comparison;
  }
}

async function* verifyDevice(options: VerifyOptions): AsyncGenerator<Comparison> {
  preferVulkan();
  const gpu = await openGpu(options);
  const notRun: string[] = [];
  try {
    for await (const result of verifyOps(gpu, () => options.signal?.throwIfAborted())) {
      yield* result.comparisons;
      notRun.push(...result.notRun);
    }
  } finally {
    gpu.close();
  }
  if (notRun.length > 0) throw new UserError(`${notRun.length} cases could not be run: ${notRun[0]}`);
}
