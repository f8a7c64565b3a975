/** One process of `bench/exposed.ts`: a training step and an exchange, apart and at once. */
import { engineSpec, UNREAD } from "../src/api/parts.ts";
import { resolveConfig } from "../src/config/load.ts";
import type { Batch } from "../src/data/batch.ts";
import { openWorkerEngine } from "../src/engine/workerEngine.ts";
import { initialValues } from "../src/model/init.ts";
import { HEADER_BYTES } from "../src/net/link/frame.ts";
import { enterGroup, type Place } from "./_groupNode.ts";

export interface NodeArguments extends Place {
  /** Of the run. */
  readonly overrides: readonly string[];
  readonly repeats: number;
  readonly warmUp: number;
  /** In how many a sum leaves while backward goes on; 1: when backward is done. */
  readonly parts: readonly number[];
}

/** Milliseconds, each a median. */
export interface NodeResult {
  /** Of a sum of gradients. */
  readonly bytes: number;
  readonly parameters: number;
  /** Forward alone, and forward and backward, of a node's share, until the sums of all nodes are on their hosts. */
  readonly forward: number;
  readonly work: number;
  /** The sum back to the GPU, with the optimizer's step. */
  readonly update: number;
  /** For each number of parts: from the step's begin until the sum over all nodes is there. */
  readonly summed: readonly number[];
  /** The frames of the exchange over bare WebSockets. */
  readonly raw: number;
}

const { overrides, repeats, warmUp, parts, ...place }: NodeArguments = JSON.parse(Deno.args[0]);
const { self, members } = place;
const config = resolveConfig({ overrides: [...overrides, `scale.virtualWorkers=${members}`] });
const spec = engineSpec(config, { ...UNREAD, vocabSize: config.bpeVocabSize });
const { seqLen: columns, vocabSize } = spec.model;
const engine = await openWorkerEngine(spec, { tune: config.engine.tune });
for (const parameter of engine.report.parameters) {
  const values = Float32Array.from(initialValues(parameter, { ...spec.model, seed: config.seed }));
  await engine.write("weights", parameter.name, values);
}
const length = engine.report.sumLength;
const { medianTimes, open, exchange, meet, leave } = await enterGroup(place, length);

const rows = config.train.batchSize / members;
const ids = (salt: number) =>
  Int32Array.from({ length: rows * columns }, (_, i) => (i * 7919 + salt + self) % vocabSize);
const micro: Batch = { rows, columns, inputs: ids(0), targets: ids(1), sampleIds: new Uint32Array(rows) };
const array = new Uint8Array(HEADER_BYTES + 4 * length).fill(1);
const own = new Float32Array(new SharedArrayBuffer(4 * length));
let step = 0;

/** A share is one micro-batch. */
async function work(into: Float32Array, parts: number, onFinal: (from: number, to: number) => void) {
  await engine.beginStep(1);
  await engine.finishSum({ micro, step: ++step, worker: 0 }, into, parts, onFinal);
}

async function summed(parts: number): Promise<void> {
  const bucket = await open(length);
  await work(bucket.pieces[0], parts, bucket.final);
  await bucket.reduce();
  bucket.release();
}

const { forward, raw, update, work: worked, ...times }: Record<string, number> = await medianTimes(repeats, {
  forward: () => engine.evaluate(micro),
  work: async () => {
    await work(own, 1, () => {});
    await meet();
  },
  update: async () => {
    await engine.writeSum(new Float32Array(own));
    await engine.update({ step, learningRate: 1e-3 });
    await engine.metrics();
  },
  raw: () => exchange(length, array),
  ...Object.fromEntries(parts.map((count) => [`${count}`, () => summed(count)])),
}, warmUp);
if (self === 0) {
  const parameters = engine.report.parameters
    .reduce((total, { shape }) => total + shape.reduce((size, n) => size * n, 1), 0);
  const result: NodeResult = {
    ...{ bytes: 4 * length, parameters, forward, work: worked, update, raw },
    summed: parts.map((count) => times[`${count}`]),
  };
  console.log(JSON.stringify(result));
}
await leave();
