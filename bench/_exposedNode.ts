/** One process of `bench/exposed.ts`: a training step and an exchange, apart and at once. */
import { engineSpec, UNREAD } from "../src/api/parts.ts";
import { resolveConfig } from "../src/config/load.ts";
import type { Batch } from "../src/data/batch.ts";
import { openWorkerEngine } from "../src/engine/workerEngine.ts";
import { initialValues } from "../src/model/init.ts";
import { HEADER_BYTES } from "../src/net/frame.ts";
import { enterGroup, type Place } from "./_groupNode.ts";

export interface NodeArguments extends Place {
  /** Of the run. */
  readonly overrides: readonly string[];
  readonly repeats: number;
}

/** Milliseconds, each a median. */
export interface NodeResult {
  /** Of a sum of gradients. */
  readonly bytes: number;
  readonly parameters: number;
  /** Forward and backward of this node's share, until the GPU is idle. */
  readonly backward: number;
  /** The sum from the GPU to the host, and back with the optimizer's step. */
  readonly read: number;
  readonly update: number;
  readonly exchange: number;
  /** Forward and backward while another step's sum is exchanged. */
  readonly both: number;
  /** The frames of the exchange over bare WebSockets. */
  readonly raw: number;
}

const { overrides, repeats, ...place }: NodeArguments = JSON.parse(Deno.args[0]);
const { self, members } = place;
const config = resolveConfig({ overrides: [...overrides, `scale.virtualWorkers=${members}`] });
const spec = engineSpec(config, { ...UNREAD, vocabSize: config.bpeVocabSize });
const { seqLen: columns, vocabSize } = spec.model;
const engine = await openWorkerEngine(spec, { tune: config.engine.tune });
for (const parameter of engine.report.parameters) {
  const values = Float32Array.from(initialValues(parameter, { ...spec.model, seed: config.seed }));
  await engine.write("weights", parameter.name, values);
}
const { medianTimes, reduce, exchange, leave } = await enterGroup(place);

const rows = config.train.batchSize / members;
const ids = (salt: number) =>
  Int32Array.from({ length: rows * columns }, (_, i) => (i * 7919 + salt + self) % vocabSize);
const batch: Batch = { rows, columns, inputs: ids(0), targets: ids(1), sampleIds: new Uint32Array(rows) };
const length = engine.report.sumLength;
const array = new Uint8Array(HEADER_BYTES + 4 * length).fill(1);
let sum = new Float32Array(length);
let step = 0;

async function backward(): Promise<void> {
  await engine.beginStep(1);
  await engine.accumulate(batch, ++step); // a share is one micro-batch
  await engine.endWorker(0);
  await engine.idle();
}

const times = await medianTimes(repeats, {
  backward,
  read: async () => sum = new Float32Array(await engine.readSum()),
  exchange: (isWarmUp) => reduce(length, isWarmUp),
  update: async () => {
    await engine.writeSum(sum);
    await engine.update({ step, learningRate: 1e-3 });
    await engine.metrics();
  },
  both: () => Promise.all([backward(), reduce(length)]),
  raw: () => exchange(length, array),
}, 2);
if (self === 0) {
  const parameters = engine.report.parameters
    .reduce((total, { shape }) => total + shape.reduce((size, n) => size * n, 1), 0);
  console.log(JSON.stringify({ bytes: 4 * length, parameters, ...times } satisfies NodeResult));
}
await leave();
