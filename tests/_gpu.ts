import { preferVulkan } from "../src/engine/environment.ts";
import { type Gpu, openGpu } from "../src/gpu/device.ts";
import type { EngineLimits } from "../src/gpu/tensor.ts";

let opened: Promise<Gpu> | null = null;

/**
 * Bytes at which the tests cap storage bindings, so that windows are met everywhere; null: the adapter's own limit
 * (BLOOMERY_TEST_MAX_BINDING=0).
 */
export function bindingCap(): number | null {
  const given = Number(Deno.env.get("BLOOMERY_TEST_MAX_BINDING") ?? 64 * 1024);
  return given === 0 ? null : given;
}

/** The limit that the adapter has itself. */
export async function fullBinding(): Promise<Pick<EngineLimits, "maxBinding">> {
  return { maxBinding: (await testGpu()).device.limits.maxStorageBufferBindingSize };
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
