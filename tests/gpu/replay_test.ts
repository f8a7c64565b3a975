import { assertEquals } from "@std/assert";
import type { Gpu } from "../../src/gpu/device.ts";
import { type Command, type Program, replay } from "../../src/gpu/replay.ts";

/** A device that counts the dispatches of each submit. */
function countingGpu() {
  const submits: number[] = [];
  const createCommandEncoder = () => {
    let count = 0;
    const nothing = () => {};
    const pass = {
      setPipeline: nothing,
      setBindGroup: nothing,
      dispatchWorkgroups: () => count++,
      end: nothing,
    };
    return { beginComputePass: () => pass, finish: () => count };
  };
  const queue = { submit: ([count]: number[]) => submits.push(count) };
  const gpu = { device: { createCommandEncoder, queue }, limits: { maxGroups: 65535 } } as unknown as Gpu;
  return { gpu, submits };
}

/** Segments of dispatches, each of so many operations. */
function programOf(...segments: number[][]): Program {
  const command = (flops: number) => ({ groups: 1, dispatch: { flops, stack: 0 } }) as unknown as Command;
  return { segments: segments.map((flops, i) => ({ name: `${i}`, commands: flops.map(command) })) };
}

Deno.test("replay() cuts submits in the middle of a segment, by what may be queued at that moment", () => {
  const { gpu, submits } = countingGpu();
  const program = programOf([5, 5, 5], [5, 5, 5, 5]);
  let portion = 4;
  const yielded: number[] = [];
  for (const flops of replay(gpu, program, [{}], () => portion)) {
    assertEquals(submits.length, yielded.push(flops), "nothing more is queued meanwhile");
    portion += 5;
  }
  assertEquals([submits, yielded], [[1, 2, 3, 1], [5, 10, 15, 5]]);
});

Deno.test("replay() cuts no small program, and a large one for the watchdog's sake", () => {
  const { gpu, submits } = countingGpu();
  Array.from(replay(gpu, programOf([5, 5], [0, 0, 5]), [{}]));
  assertEquals(submits, [5]);
  Array.from(replay(gpu, programOf([3e11, 3e11, 1], []), [{}]));
  assertEquals(submits, [5, 2, 1]);
});
