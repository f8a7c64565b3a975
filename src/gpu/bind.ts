/**
 * Binds a placed program to buffers: windows, uniforms and bind groups, made once.
 */
import type { Buffers } from "./buffers.ts";
import type { Gpu } from "./device.ts";
import { FIRST_TENSOR_BINDING, type Kernel, LIVE_BYTES, LIVE_STRIDE } from "./kernel.ts";
import { type Placement, UNIFORM_STRIDE, uniformBytes } from "./place.ts";
import type { Dispatch } from "./recorder.ts";
import type { Command, Program } from "./replay.ts";
import { ALIGNMENT, BYTES_PER_ELEMENT, type Slice } from "./tensor.ts";

/** What a binding covers. */
interface Window {
  readonly buffer: GPUBuffer;
  /** Aligned byte, `at` elements before the slice. */
  readonly offset: number;
  readonly size: number;
  readonly at: number;
}

/** @param pool the buffers that `placement` counts */
export async function bindProgram(
  gpu: Gpu,
  buffers: Buffers,
  placement: Placement,
  pool: readonly GPUBuffer[],
): Promise<Program> {
  const uniforms = new ArrayBuffer(uniformBytes(placement));
  const uniformBuffer = await buffers.uniforms(uniforms.byteLength);
  let index = 0;
  const segments = [];
  for (const { name, dispatches } of placement.segments) {
    const commands: Command[] = [];
    for (const dispatch of dispatches) {
      const { kernel, slices, groups } = dispatch;
      const windows = slices.map((slice) => {
        const { place } = slice.tensor;
        const buffer = place === null
          ? pool[placement.bufferOf(slice, index)]
          : buffers.of(place.arena)[place.buffer];
        return windowOf(slice, buffer, gpu.limits.maxBinding);
      });
      checkOverlap(kernel, windows);
      const offset = index * UNIFORM_STRIDE;
      fillUniforms(new DataView(uniforms, offset, UNIFORM_STRIDE), dispatch, windows);
      const { pipeline, layout } = await gpu.pipelines.compile(gpu, kernel);
      const bindGroup = gpu.device.createBindGroup({
        layout,
        entries: [
          {
            binding: 0,
            resource: { buffer: buffers.live, offset: dispatch.stack * LIVE_STRIDE, size: LIVE_BYTES },
          },
          { binding: 1, resource: { buffer: uniformBuffer, offset, size: UNIFORM_STRIDE } },
          ...windows.map(({ buffer, offset, size }, i) => ({
            binding: FIRST_TENSOR_BINDING + i,
            resource: { buffer, offset, size },
          })),
        ],
      });
      commands.push({ pipeline, bindGroup, groups, dispatch });
      index++;
    }
    segments.push({ name, commands });
  }
  gpu.device.queue.writeBuffer(uniformBuffer, 0, uniforms);
  return { segments };
}

function windowOf({ tensor, at, length }: Slice, buffer: GPUBuffer, maxBinding: number): Window {
  const bytes = BYTES_PER_ELEMENT[tensor.dtype];
  const start = (tensor.place?.offset ?? 0) + at * bytes;
  const offset = start - (start % ALIGNMENT);
  // Whole groups of four values, so that a kernel may read the last group as one; allocations are padded.
  const size = Math.min(Math.ceil((start - offset + length * bytes) / 16) * 16, buffer.size - offset);
  if (size > maxBinding) {
    throw new Error(`${tensor.name}: a window of ${size} bytes exceeds the binding limit of ${maxBinding}`);
  }
  return { buffer, offset, size, at: (start - offset) / bytes };
}

/** The dispatch's own fields, then the offset of each tensor in its window. */
function fillUniforms(view: DataView, { kernel, uniforms }: Dispatch, windows: readonly Window[]): void {
  kernel.fields.forEach(({ type }, i) => {
    if (type === "u32") view.setUint32(i * 4, uniforms[i], true);
    else view.setFloat32(i * 4, uniforms[i], true);
  });
  windows.forEach(({ at }, i) => view.setUint32((kernel.fields.length + i) * 4, at, true));
}

/** A dispatch may bind a range for writing only if no other binding of it touches the same buffer. */
function checkOverlap(kernel: Kernel, windows: readonly Window[]): void {
  windows.forEach(({ buffer }, i) => {
    if (kernel.slots[i].access === "read") return;
    const other = windows.findIndex((candidate, k) => k !== i && candidate.buffer === buffer);
    if (other >= 0) {
      throw new Error(
        `${kernel.key}: ${kernel.slots[i].name} and ${kernel.slots[other].name} lie in the same buffer`,
      );
    }
  });
}
