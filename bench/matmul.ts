/** `deno task bench matmul`: 512^3 in float32, beside other WebGPU libraries on the same adapter in the same run. */

import { openGpu } from "../src/gpu/device.ts";
import { matmulRoof, prepareOurs, timeRun } from "./_matmul.ts";
import { noise, type Report, reportDrift } from "./_report.ts";
import { matmulPeers, type MatmulProblem, type MatmulRun } from "./peers/matmul.ts";

const SIZE = 512;

export async function benchMatmul(report: Report): Promise<void> {
  const gpu = await openGpu();
  const before = await matmulRoof(gpu);
  for (const kind of ["NN", "NT", "TN"] as const) {
    const [a, b] = [noise(SIZE * SIZE, 1), noise(SIZE * SIZE, 2)];
    const problem = { m: SIZE, n: SIZE, k: SIZE, kind, a, b };
    const name = `${SIZE}^3 ${kind}`;
    const ours = await prepareOurs(gpu, problem);
    const rate = await measured(ours, problem);
    report({ bench: "matmul", case: name, value: rate, unit: "GFLOP/s" });
    for (const peer of matmulPeers) {
      const theirs = await peer.prepare(problem);
      const theirRate = await measured(theirs, problem);
      theirs.dispose();
      report({
        bench: "matmul",
        case: name,
        value: theirRate,
        unit: "GFLOP/s",
        peer: peer.name,
        ratio: rate / theirRate,
      });
    }
    ours.dispose();
  }
  reportDrift(report, "matmul", before, await matmulRoof(gpu), "GFLOP/s");
  gpu.close();
}

/** GFLOP/s, after every element was checked. */
async function measured(run: MatmulRun, problem: MatmulProblem): Promise<number> {
  await run.run();
  check(await run.read(), problem);
  return 2 * SIZE ** 3 / await timeRun(run) / 1e9;
}

/** @throws Error if an element differs from a product in float64 by more than rounding. */
function check(found: Float32Array, { kind, a, b }: MatmulProblem): void {
  const row = new Float64Array(SIZE);
  for (let i = 0; i < SIZE; i++) {
    row.fill(0);
    for (let k = 0; k < SIZE; k++) {
      const x = kind === "TN" ? a[k * SIZE + i] : a[i * SIZE + k];
      for (let j = 0; j < SIZE; j++) row[j] += x * (kind === "NT" ? b[j * SIZE + k] : b[k * SIZE + j]);
    }
    for (let j = 0; j < SIZE; j++) {
      const error = Math.abs(found[i * SIZE + j] - row[j]);
      if (!(error < 1e-4)) throw new Error(`${kind}: element ${i}, ${j} is off by ${error}`);
    }
  }
}
