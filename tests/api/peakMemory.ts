/** `import FROM TO` or `load FROM`, and prints by how many bytes this process' memory has peaked above what it was before. */
import { importModel } from "../../src/api/convert.ts";
import { modelParameters } from "../../src/model/parameters.ts";
import { readModelSpec } from "../../src/train/modelFiles.ts";
import { loadWeights } from "../../src/train/weights.ts";
import { fakeEngine } from "../train/fakeEngine.ts";

const [verb, from, to] = Deno.args;
const before = peakBytes();
if (verb === "import") await importModel(from, to);
else await load();
console.log(peakBytes() - before);

function peakBytes(): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status")) ?? [];
  return 1024 * Number(kib);
}

/** Onto an engine whose memory is not this process'. */
async function load(): Promise<void> {
  const spec = readModelSpec(from);
  const empty = fakeEngine(spec, { microBatchSize: 1, parameters: [] });
  const parameters = modelParameters(spec).map(({ name, shape }) => ({ name, shape, decays: true }));
  const write = () => new Promise<void>((resolve) => setTimeout(resolve));
  await loadWeights({ ...empty, report: { ...empty.report, parameters }, write }, from, spec);
}
