/**
 * Trains a model of the given vocabulary, with large parameters and little to compute, and prints by how much this
 * process's memory has grown since it has opened the device.
 */
import { openLocalEngine } from "../../src/engine/localEngine.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { preferVulkan } from "../../src/engine/environment.ts";
import { accumulate, tinySpec } from "./tiny.ts";

/** Bytes of a field of /proc/self/status. */
function statusBytes(field: string): number {
  const [, kib] = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(
    Deno.readTextFileSync("/proc/self/status"),
  )!;
  return 1024 * Number(kib);
}

const sizes = {
  vocabSize: Number(Deno.args[0]),
  modelDim: 256,
  numHeads: 4,
  numKvHeads: 4,
  headDim: 64,
  ffnDim: 256,
};
const virtualWorkers = 5; // two partial sums wait
const spec = tinySpec({
  model: { ...sizes, numLayers: 1, seqLen: 8 },
  training: { virtualWorkers },
  microBatchSize: 1,
});
preferVulkan();
const { device } = await openGpu();
const largest = new Float32Array(Math.max(sizes.vocabSize, 3 * 256) * 256).fill(0.01); // resident from now on
const before = statusBytes("VmRSS");

const engine = await openLocalEngine(spec, { device });
for (const { name, shape } of engine.report.parameters) {
  await engine.write("weights", name, largest.subarray(0, shape.reduce((a, b) => a * b)));
}
for (let step = 1; step <= 3; step++) {
  await engine.beginStep();
  for (let worker = 0; worker < virtualWorkers; worker++) {
    // Of the first four these two wait at the same time; the others are empty.
    if (worker === 0 || worker === 2) await accumulate(engine, step, step, step + 1, 1, spec.model);
    await engine.endWorker(worker);
  }
  await engine.update({ step, learningRate: 0.01 });
}
const results = await engine.metrics();
const grown = statusBytes("VmHWM") - before;
console.log(JSON.stringify({ planned: engine.report.bytes.total, grown, steps: results.length }));
await engine.close();
device.destroy();
