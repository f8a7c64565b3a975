/** Our matmul as a run that can be timed beside the peers', and the roof that a step is held against. */

import { Choices } from "../src/gpu/choices.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { place } from "../src/gpu/place.ts";
import { Runtime } from "../src/gpu/program.ts";
import { Recorder } from "../src/gpu/recorder.ts";
import { Arena } from "../src/gpu/tensor.ts";
import { tune } from "../src/gpu/tuner.ts";
import { matmul, matmulQuestion, matrix } from "../src/ops/matmul.ts";
import { noise } from "./_report.ts";
import type { MatmulProblem, MatmulRun } from "./peers/matmul.ts";

/** With the variant that the tuner finds best on this adapter. */
export async function prepareOurs(gpu: Gpu, { m, n, k, kind, a, b }: MatmulProblem): Promise<MatmulRun> {
  const transA = kind === "TN";
  const transB = kind === "NT";
  const [A, B, C] = [[transA ? k : m, transA ? m : k], [transB ? n : k, transB ? k : n], [m, n]].map(
    (shape, i) => {
      const arena = new Arena(`operand ${i}`, gpu.limits.maxBuffer);
      return { arena, tensor: arena.add(`operand ${i}`, shape) };
    },
  );
  const choices = new Choices();
  const record = () => {
    const recorder = new Recorder({ ...gpu.limits, choices });
    matmul(recorder, { out: matrix(C.tensor), a: matrix(A.tensor), b: matrix(B.tensor), transA, transB });
    return recorder;
  };
  record();
  await tune(gpu, choices, (name) => matmulQuestion(gpu.limits, name));
  const runtime = new Runtime(gpu);
  for (const { arena } of [A, B, C]) await runtime.allocate(arena);
  const [program] = await runtime.load([place(record())]);
  runtime.write(A.tensor.whole(), a);
  runtime.write(B.tensor.whole(), b);
  return {
    async run(times = 1) {
      for (let i = 0; i < times; i++) runtime.run(program);
      await runtime.idle();
    },
    read: () => runtime.read(C.tensor.whole()),
    dispose: () => runtime.close(),
  };
}

/** Seconds of one run: the best of `rounds`, each of as many runs as take about `seconds`. */
export async function timeRun(run: Pick<MatmulRun, "run">, rounds = 5, seconds = 0.25): Promise<number> {
  await run.run();
  let times = 1;
  let best = Infinity;
  for (let round = 0; round < rounds;) {
    const begin = performance.now();
    await run.run(times);
    const elapsed = (performance.now() - begin) / 1000;
    if (elapsed < seconds && times < 1024) {
      times = Math.min(1024, Math.ceil(times * Math.max(1.5, seconds / elapsed)));
      continue;
    }
    best = Math.min(best, elapsed / times);
    round++;
  }
  return best;
}

/** GFLOP/s of our best 512^3 product: what a whole step is held against. */
export async function matmulRoof(gpu: Gpu): Promise<number> {
  let best = 0;
  const [a, b] = [noise(512 * 512, 1), noise(512 * 512, 2)];
  for (const kind of ["NN", "NT", "TN"] as const) {
    const run = await prepareOurs(gpu, { m: 512, n: 512, k: 512, kind, a, b });
    best = Math.max(best, 2 * 512 ** 3 / await timeRun(run, 3) / 1e9);
    run.dispose();
  }
  return best;
}
