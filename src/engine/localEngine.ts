import { type Batch, countTargets, IGNORE, sliceBatch } from "../data/batch.ts";
import { type Gpu, type GpuOptions, openGpu } from "../gpu/device.ts";
import { type DispatchTime, type Pace, type Program, Runtime } from "../gpu/program.ts";
import { breathe } from "../gpu/signal.ts";
import { createOptimizer, type Optimizer } from "../ops/optimizer.ts";
import { writeBatch } from "./batchInputs.ts";
import { CallOrder } from "./callOrder.ts";
import type { Engine, EngineReport, LastBatch, LossSums, StateKind, StepResult, Update } from "./engine.ts";
import { preferVulkan } from "./environment.ts";
import { GradientTree } from "./gradientTree.ts";
import { LogitsReader, NextReader } from "./inference.ts";
import { checkMemory } from "./memory.ts";
import { type EnginePrograms, placementsOf, recordWeightsHash } from "./programs.ts";
import { copiedBytes, StagedSum } from "./stagedSum.ts";
import type { EngineSpec } from "./spec.ts";
import { QueueLimit } from "./queueLimit.ts";
import { record, recordTuned } from "./record.ts";
import { reportOf } from "./report.ts";
import { ResultRing } from "./resultRing.ts";
import { StateAccess } from "./stateAccess.ts";
import { readSum, writeSum } from "./sumTransfer.ts";
import { type WaitingSums, waitOnDevice, waitOnHost } from "./waitingSums.ts";

export interface LocalEngineOptions extends GpuOptions {
  /** Bytes of the machine's memory that a software adapter may take; without it that is not checked. */
  readonly freeMemory?: number;
  /** Measure kernel variants that were not measured on this adapter yet; the answers are kept in the user's cache. */
  readonly tune?: boolean;
  /** Called while kernels are measured. */
  readonly onTune?: (done: number, total: number) => void;
  /** Called while kernels compile. */
  readonly onCompile?: (done: number, total: number) => void;
  /** Called as each parameter's weights are written for the first time. */
  readonly onWeights?: (done: number, total: number) => void;
  /** Ends the opening, between measurements and compiles; what was taken of the GPU is freed. */
  readonly signal?: AbortSignal;
}

/**
 * An engine on the caller's thread, which its waits block.
 *
 * @throws UserError if there is no adapter or too little memory; the reason of `options.signal`
 */
export async function openLocalEngine(
  spec: EngineSpec,
  options: LocalEngineOptions = {},
): Promise<LocalEngine> {
  const { signal, onTune, onCompile } = options;
  const begin = performance.now();
  signal?.throwIfAborted();
  preferVulkan();
  const gpu = await openGpu(options);
  const opened = performance.now();
  let runtime: Runtime | null = null;
  try {
    await breathe(signal);
    const programs = options.tune === true
      ? await recordTuned(spec, gpu, { onProgress: onTune, signal })
      : record(spec, gpu);
    const planned = reportOf(spec, programs, gpu);
    checkMemory(planned, options.freeMemory ?? Infinity);
    const recorded = performance.now();
    runtime = new Runtime(gpu);
    await runtime.allocate(...programs.tensors.arenas);
    const loaded = await runtime.load(placementsOf(programs), { onProgress: onCompile, signal });
    for (const [tensor, table] of programs.tensors.tables) runtime.write(tensor.whole(), table.values());
    const { compileMs } = runtime;
    const placeMs = performance.now() - recorded - compileMs;
    const startup = { deviceMs: opened - begin, recordMs: recorded - opened, compileMs, placeMs };
    const report = { ...planned, startup };
    return new LocalEngine(gpu, runtime, spec, programs, loaded, report, options.onWeights);
  } catch (error) {
    runtime?.close(); // a caller's device stays open
    gpu.close();
    throw error;
  }
}

/** Seconds of work that may wait in the GPU's queue. */
const QUEUE_SECONDS = 1;

export class LocalEngine implements Engine {
  readonly report: EngineReport;
  readonly #gpu: Gpu;
  readonly #runtime: Runtime;
  readonly #spec: EngineSpec;
  readonly #recorded: EnginePrograms;
  readonly #evaluation: Program;
  readonly #training: Program | undefined;
  readonly #updating: Program | undefined;
  readonly #optimizer: Optimizer | null;
  readonly #tree: GradientTree;
  readonly #waiting: WaitingSums;
  /** By the number of its parts. */
  readonly #staged = new Map<number, StagedSum>();
  /** Puts a hash of the weights behind the sums; made when a sum is first read. */
  #hash: Program | null = null;
  readonly #ring: ResultRing;
  readonly #queue: QueueLimit;
  readonly #calls = new CallOrder();
  readonly #state: StateAccess;
  #logits: LogitsReader | null = null;
  #next: NextReader | null = null;

  /** @param programs in the order of placementsOf(recorded) */
  constructor(
    gpu: Gpu,
    runtime: Runtime,
    spec: EngineSpec,
    recorded: EnginePrograms,
    [evaluation, ...programs]: readonly Program[],
    report: EngineReport,
    onWeights: LocalEngineOptions["onWeights"] = () => {},
  ) {
    this.#gpu = gpu;
    this.#runtime = runtime;
    this.#spec = spec;
    this.#recorded = recorded;
    this.#evaluation = evaluation;
    const places = recorded.addWaiting.length;
    [this.#training, this.#updating] = programs.slice(places);
    this.#optimizer = spec.training && createOptimizer(spec.training.optimizer);
    const { partials, ring } = recorded.tensors;
    this.#waiting = spec.training?.hostSums
      ? waitOnHost(runtime, partials[0])
      : waitOnDevice(runtime, partials, programs.slice(0, places));
    this.#tree = new GradientTree(runtime, partials[0], this.#waiting);
    this.#ring = new ResultRing(runtime, ring);
    this.#queue = new QueueLimit(() => runtime.idle(), QUEUE_SECONDS);
    this.report = report;
    this.#state = new StateAccess(runtime, recorded.tensors, this.#calls, onWeights);
  }

  /** Bytes of the buffers that were made. */
  get allocatedBytes(): number {
    return this.#runtime.bytes;
  }

  write(kind: StateKind, name: string, values: Float32Array<ArrayBuffer>): Promise<void> {
    return this.#state.write(kind, name, values);
  }

  read(kind: StateKind | "gradient", name: string): Promise<Float32Array<ArrayBuffer>> {
    return this.#state.read(kind, name);
  }

  beginStep(workers: number = this.#spec.training?.virtualWorkers ?? 1): Promise<void> {
    return this.#calls.run(() => this.#tree.begin(workers));
  }

  readSum<Buffer extends ArrayBufferLike = ArrayBuffer>(
    into?: Float32Array<Buffer>,
  ): Promise<Float32Array<Buffer>> {
    return this.#calls.run(async () => {
      await this.#tree.fold();
      this.#runtime.run(await this.#hashing());
      const values = await readSum(this.#runtime, this.#recorded.tensors.partials[0], into);
      this.#queue.emptied();
      return values;
    });
  }

  writeSum(values: Float32Array<ArrayBuffer>): Promise<void> {
    return this.#calls.run(async () => {
      this.#tree.replace();
      await writeSum(this.#runtime, this.#recorded.tensors.partials[0], values);
    });
  }

  accumulate(micro: Batch, step: number, signal?: AbortSignal): Promise<void> {
    return this.#calls.run(async () => {
      if (this.#training === undefined) throw new Error("This engine does not train");
      signal?.throwIfAborted();
      const lives = this.#writeBatch(micro, true).map((live) => ({ ...live, step }));
      await this.#runtime.runPaced(this.#training, lives, this.#paceOf(micro, signal));
      this.#tree.added();
    });
  }

  finishSum(
    { micro, step, worker }: LastBatch,
    into: Float32Array<ArrayBufferLike>,
    parts: number,
    onFinal: (from: number, to: number) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#calls.run(async () => {
      if (this.#training === undefined) throw new Error("This engine does not train");
      signal?.throwIfAborted();
      if (into.length !== this.report.sumLength) {
        throw new Error(`Room for ${into.length} values, expected ${this.report.sumLength}`);
      }
      // No fewer than can be copied without waiting for what comes after.
      const count = Math.max(parts, Math.ceil(4 * into.length / copiedBytes(into.length)));
      const staged = this.#staged.get(count) ?? await this.#stage(this.#training, count);
      const lives = this.#writeBatch(micro, true).map((live) => ({ ...live, step }));
      const hash = await this.#hashing();
      const levels = this.#tree.endLast(worker);
      await staged.run(
        lives,
        this.#paceOf(micro, signal),
        { levels, waiting: this.#waiting, hash, into, onFinal },
        signal,
      );
      this.#queue.emptied();
    });
  }

  async #hashing(): Promise<Program> {
    if (this.#hash !== null) return this.#hash;
    const placement = recordWeightsHash(this.#gpu.limits, this.#recorded.tensors);
    [this.#hash] = await this.#runtime.load([placement]);
    return this.#hash;
  }

  async #stage(training: Program, parts: number): Promise<StagedSum> {
    const staged = await StagedSum.open(this.#runtime, this.#gpu.limits, this.#recorded, training, parts);
    this.#staged.set(parts, staged);
    return staged;
  }

  /** Keeps the queue short while a batch is worked on, so that a signal need not wait for all of it. */
  #paceOf({ rows, columns }: Batch, signal: AbortSignal | undefined): Pace {
    const inUse = rows * columns / (this.#spec.microBatchSize * this.#spec.columns); // of what is recorded
    const queue = this.#queue;
    return {
      get portion() {
        return queue.portion / inUse;
      },
      queued: (flops) => queue.add(flops * inUse, signal),
    };
  }

  #writeBatch(batch: Batch, withOrder: boolean) {
    return writeBatch(this.#runtime, this.#spec, this.#recorded.tensors, batch, withOrder);
  }

  endWorker(index: number): Promise<void> {
    return this.#calls.run(() => this.#tree.endWorker(index));
  }

  update({ step, learningRate }: Update): Promise<void> {
    return this.#calls.run(async () => {
      if (this.#optimizer === null || this.#updating === undefined) {
        throw new Error("This engine does not train");
      }
      await this.#tree.fold();
      if (this.#ring.isFull) await this.#collect();
      this.#runtime.run(this.#updating, {
        step,
        slot: this.#ring.slot,
        learningRate,
        ...this.#optimizer.live(step),
      });
      this.#ring.push(step);
    });
  }

  async #collect(): Promise<void> {
    await this.#ring.collect();
    this.#queue.emptied();
  }

  metrics(): Promise<StepResult[]> {
    return this.#calls.run(async () => {
      if (!this.#ring.isEmpty) await this.#collect();
      return this.#ring.take();
    });
  }

  clearHalt(): Promise<void> {
    return this.#calls.run(() => {
      this.#runtime.write(this.#recorded.tensors.control.whole(), new Float32Array(4));
    });
  }

  evaluate(batch: Batch, signal?: AbortSignal): Promise<LossSums> {
    return this.#calls.run(async () => {
      const { microBatchSize, columns } = this.#spec;
      const rowLoss = new Float32Array(batch.rows); // (B)
      for (let from = 0; from < batch.rows; from += microBatchSize) {
        const part = sliceBatch(batch, from, Math.min(from + microBatchSize, batch.rows));
        signal?.throwIfAborted();
        await this.#runtime.runPaced(
          this.#evaluation,
          this.#writeBatch(part, false),
          this.#paceOf(part, signal),
        );
        const { losses } = this.#recorded.tensors;
        const values = await this.#runtime.read(losses.rows(0, part.rows * columns)); // (B*T, 2)
        this.#queue.emptied();
        for (let row = 0; row < part.rows; row++) rowLoss[from + row] = sumLosses(values, part, row);
      }
      return { rowLoss, targetCount: countTargets(batch) };
    });
  }

  /** See Engine.logits: memory for all of them is taken at the first call. @throws UserError if they don't fit */
  logits(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    return this.#calls.run(async () => {
      this.#logits ??= await LogitsReader.open(this.#inference());
      return await this.#logits.read(this.#writeBatch(batch, false));
    });
  }

  /** See Engine.encode. @throws UserError if the cache doesn't fit */
  encode(tokens: Int32Array): Promise<void> {
    return this.#calls.run(async () => {
      this.#next ??= await NextReader.open(this.#inference());
      this.#next.readSource(tokens);
    });
  }

  /** See Engine.next: memory for the cache is taken at the first call. @throws UserError if it doesn't fit */
  next(tokens: Int32Array, start: number): Promise<Float32Array<ArrayBuffer>> {
    return this.#calls.run(async () => {
      this.#next ??= await NextReader.open(this.#inference());
      return await this.#next.read(tokens, start);
    });
  }

  #inference() {
    const { limits } = this.#gpu;
    return { runtime: this.#runtime, limits, spec: this.#spec, tensors: this.#recorded.tensors };
  }

  /** Time of every dispatch of a micro-batch's forward and backward and of the update. */
  profile(micro: Batch): Promise<DispatchTime[]> {
    return this.#calls.run(async () => {
      if (this.#training === undefined || this.#updating === undefined || this.#optimizer === null) {
        throw new Error("This engine does not train");
      }
      const lives = this.#writeBatch(micro, true);
      return [
        ...await this.#runtime.profile(this.#training, ...lives),
        ...await this.#runtime.profile(this.#updating, { step: 1, ...this.#optimizer.live(1) }),
      ];
    });
  }

  idle(): Promise<void> {
    return this.#calls.run(() => this.#runtime.idle());
  }

  close(): Promise<void> {
    return this.#calls.run(() => {
      this.#runtime.close();
      this.#gpu.close();
    });
  }
}

/** The sum of a row's losses, where there is a target. @param losses (B*T, 2) */
function sumLosses(losses: Float32Array, { columns, targets }: Batch, row: number): number {
  let sum = 0;
  for (let at = row * columns; at < (row + 1) * columns; at++) {
    if (targets[at] !== IGNORE) sum += losses[2 * at];
  }
  return sum;
}
