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
  opened ??= open();
  const gpu = await opened;
  return { ...gpu, limits: { ...gpu.limits, ...limits } };
}

/** A GPU that nobody else has: for whoever asks again for a kernel that was refused. */
export function ownGpu(): Promise<Gpu> {
  preferVulkan();
  return openGpu({ maxBinding: bindingCap() });
}

async function open(): Promise<Gpu> {
  const gpu = await openGpu({ maxBinding: bindingCap() });
  keepPipelines(gpu.device);
  return gpu;
}

/**
 * Lets a device make the pipeline of a code once: every engine of a file asks it for much the same ones. A code that is
 * refused is refused the first time only; its pipeline is then invalid wherever it is used.
 */
function keepPipelines(device: GPUDevice): void {
  const createModule = device.createShaderModule.bind(device);
  const createPipeline = device.createComputePipeline.bind(device);
  const codes = new WeakMap<GPUShaderModule, string>();
  const made = new Map<string, { module: GPUShaderModule; pipeline: GPUComputePipeline }>();
  device.createShaderModule = (descriptor) => {
    const { code } = descriptor;
    const module = made.get(code)?.module ?? createModule(descriptor);
    codes.set(module, code);
    return module;
  };
  device.createComputePipeline = (descriptor) => {
    const { module } = descriptor.compute;
    return made.getOrInsertComputed(
      codes.get(module)!,
      () => ({ module, pipeline: createPipeline(descriptor) }),
    ).pipeline;
  };
}
