/**
 * Pipelines of a device, made once for each kernel.
 */
import type { Gpu } from "./device.ts";
import { spoken } from "./dialect.ts";
import { FIRST_TENSOR_BINDING, type Kernel } from "./kernel.ts";

export interface CompiledKernel {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class Pipelines {
  readonly #compiled = new Map<string, CompiledKernel>();

  /** @throws Error that names the shader file and line that does not compile. */
  async compile(gpu: Gpu, kernel: Kernel): Promise<CompiledKernel> {
    const known = this.#compiled.get(kernel.key);
    if (known !== undefined) return known;
    const { device } = gpu;
    const layout = device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } },
        { binding: 1, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } },
        ...kernel.slots.map(({ access }, i): GPUBindGroupLayoutEntry => ({
          binding: FIRST_TENSOR_BINDING + i,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: access === "read" ? "read-only-storage" : "storage" },
        })),
      ],
    });
    device.pushErrorScope("validation");
    const pipeline = device.createComputePipeline({
      label: kernel.key,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: {
        // Messages name a place by the label, line and column: see locate().
        module: device.createShaderModule({ label: "wgsl", code: spoken(kernel.code, gpu.dialect) }),
        entryPoint: "main",
      },
    });
    const error = await device.popErrorScope();
    if (error !== null) throw new Error(`${kernel.key}: ${locate(error.message, kernel)}`);
    const compiled = { pipeline, layout };
    this.#compiled.set(kernel.key, compiled);
    return compiled;
  }
}

/** Replaces line numbers of expanded code by places in the shader files. */
function locate(message: string, kernel: Kernel): string {
  return message.replace(/(?:wgsl)?:(\d+):(\d+)/g, (_, line, column) => {
    const index = Number(line) - 1;
    return `${kernel.origins[index] ?? "wgsl"}:${column} (${(kernel.code.split("\n")[index] ?? "").trim()})`;
  });
}
