/** Where the time of a program goes: a timestamp around every dispatch. */
import type { Gpu } from "./device.ts";
import type { Live } from "./kernel.ts";
import { encode, type Program } from "./replay.ts";
import { readRanges } from "./staging.ts";

/** Time of one dispatch. */
export interface DispatchTime {
  readonly segment: string;
  readonly kernel: string;
  readonly flops: number;
  readonly nanoseconds: number;
}

/** A query set holds at most 4096 timestamps, two for each dispatch. */
const DISPATCHES_PER_SET = 1024;
const STAMP_BYTES = 8;

/** Runs a program, each dispatch in a pass of its own. @throws Error where the adapter has no timestamps */
export async function profile(gpu: Gpu, program: Program, lives: readonly Live[]): Promise<DispatchTime[]> {
  if (!gpu.hasTimestamps) throw new Error("This adapter has no timestamp queries");
  const { device } = gpu;
  const commands = program.segments.flatMap(({ name, commands }) =>
    commands.map((command) => ({ name, command }))
  );
  const times: DispatchTime[] = [];
  for (let from = 0; from < commands.length; from += DISPATCHES_PER_SET) {
    const part = commands.slice(from, from + DISPATCHES_PER_SET);
    const querySet = device.createQuerySet({ type: "timestamp", count: part.length * 2 });
    const size = part.length * 2 * STAMP_BYTES;
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    const resolved = device.createBuffer({ size, usage });
    try {
      const encoder = device.createCommandEncoder();
      part.forEach(({ command }, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encode(gpu, pass, command, lives);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, part.length * 2, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const [bytes] = await readRanges(gpu, [{ buffer: resolved, offset: 0, size }]);
      const stamps = new BigInt64Array(bytes.buffer);
      part.forEach(({ name, command: { dispatch } }, i) => {
        times.push({
          segment: name,
          kernel: dispatch.kernel.key,
          flops: dispatch.flops,
          nanoseconds: Number(stamps[2 * i + 1] - stamps[2 * i]),
        });
      });
    } finally {
      querySet.destroy();
      resolved.destroy();
    }
  }
  return times;
}
