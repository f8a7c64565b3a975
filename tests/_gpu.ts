import { preferVulkan } from "../src/engine/environment.ts";
import { type Gpu, openGpu } from "../src/gpu/device.ts";
import type { EngineLimits } from "../src/gpu/tensor.ts";

let opened: Promise<Gpu> | null = null;

/** Bytes at which this run of the tests caps storage bindings; null: the adapter's own limit. */
export function bindingCap(): number | null {
  const given = Deno.env.get("BLOOMERY_TEST_MAX_BINDING");
  return given === undefined ? null : Number(given);
}

/**
 * The GPU that a file of tests shares, with other limits where a test wants them; compiled kernels are kept. A test
 * that makes a device fail opens one of its own.
 */
export async function testGpu(limits: Partial<EngineLimits> = {}): Promise<Gpu> {
  preferVulkan();
  opened ??= openGpu({ maxBinding: bindingCap() });
  const gpu = await opened;
  return { ...gpu, limits: { ...gpu.limits, ...limits } };
}
