/**
 * Runs bound programs: encodes their commands, and submits.
 */
import type { Gpu } from "./device.ts";
import { type Live, LIVE_FIELDS, LIVE_STRIDE, STACKS } from "./kernel.ts";
import type { Dispatch, GroupCount } from "./recorder.ts";
import { breathe, type Watch } from "./signal.ts";

/** One dispatch, ready to be encoded. */
export interface Command {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly groups: GroupCount;
  readonly dispatch: Dispatch;
}

export interface Program {
  readonly segments: readonly { readonly name: string; readonly commands: readonly Command[] }[];
}

/** Kernels that are compiled between two reports: a report costs a wait. */
const KERNELS_PER_REPORT = 6;

/** Floating-point operations after which a submit is cut, short enough for a GPU's watchdog. */
const FLOPS_PER_SUBMIT = 4e11;

/** Queues the step's inputs, which all dispatches of the following submits see: one record for each stack of rows. */
export function writeLive({ device }: Gpu, buffer: GPUBuffer, lives: readonly Live[]): void {
  const view = new DataView(new ArrayBuffer(LIVE_STRIDE * STACKS));
  lives.forEach((live, stack) =>
    LIVE_FIELDS.forEach(([name, type], i) => {
      const at = stack * LIVE_STRIDE + i * 4;
      if (type === "u32") view.setUint32(at, live[name] ?? 0, true);
      else view.setFloat32(at, live[name] ?? 0, true);
    })
  );
  device.queue.writeBuffer(buffer, 0, view.buffer);
}

/**
 * Queues a program in submits that are cut between dispatches, and yields the operations of each once it is queued.
 *
 * @param portion operations after which the next submit is to be cut
 */
export function* replay(
  gpu: Gpu,
  { segments }: Program,
  lives: readonly Live[],
  portion: () => number = () => Infinity,
): Generator<number> {
  const { device } = gpu;
  const begin = () => {
    const encoder = device.createCommandEncoder();
    return { encoder, pass: encoder.beginComputePass(), most: Math.min(FLOPS_PER_SUBMIT, portion()) };
  };
  const submit = ({ encoder, pass }: ReturnType<typeof begin>) => {
    pass.end();
    device.queue.submit([encoder.finish()]);
  };
  let open = begin();
  let flops = 0;
  for (const { commands } of segments) {
    for (const command of commands) {
      if (flops > open.most) {
        submit(open);
        yield flops;
        open = begin();
        flops = 0;
      }
      flops += encode(gpu, open.pass, command, lives);
    }
  }
  submit(open);
  yield flops;
}

/** Encodes one dispatch, in a grid that respects the limit per dimension; returns its operations. */
export function encode(
  { limits }: Gpu,
  pass: GPUComputePassEncoder,
  { pipeline, bindGroup, groups, dispatch }: Command,
  lives: readonly Live[],
): number {
  const count = typeof groups === "number" ? groups : groups(lives[dispatch.stack] ?? {});
  if (count === 0) return 0;
  const height = Math.ceil(count / limits.maxGroups);
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(Math.ceil(count / height), height);
  return dispatch.flops;
}

/**
 * Makes the driver compile every kernel now, which many put off until the first use: each runs once with nothing in
 * use (all inputs of the step are 0). What that writes is overwritten or cleared before it is read.
 */
export async function warmUp(
  gpu: Gpu,
  programs: readonly Program[],
  { onProgress, signal }: Watch,
): Promise<void> {
  const { device } = gpu;
  const first = new Map<string, Command>();
  for (const { segments } of programs) {
    for (const command of segments.flatMap(({ commands }) => commands)) {
      const { key } = command.dispatch.kernel;
      if (!first.has(key)) first.set(key, command);
    }
  }
  const commands = [...first.values()];
  for (let done = 0; done < commands.length; done += KERNELS_PER_REPORT) {
    await breathe(signal);
    onProgress?.(done, commands.length);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { pipeline, bindGroup } of commands.slice(done, done + KERNELS_PER_REPORT)) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(1);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    gpu.check();
  }
  onProgress?.(commands.length, commands.length);
}
