import { type Batch, countTargets, IGNORE, sliceBatch } from "../data/batch.ts";
import { UserError } from "../errors.ts";
import { type Gpu, type GpuOptions, openGpu } from "../gpu/device.ts";
import { Choices } from "../gpu/choices.ts";
import { tune } from "../gpu/tuner.ts";
import { matmulQuestion } from "../ops/matmul.ts";
import type { Live } from "../gpu/kernel.ts";
import { type DispatchTime, type Program, Runtime } from "../gpu/program.ts";
import type { Arena } from "../gpu/tensor.ts";
import { decays } from "../model/parameters.ts";
import { positionKinds } from "../model/positions.ts";
import { sortTokens, type TokenInputs } from "../ops/embedding.ts";
import { RING_FIELDS, RING_SLOTS } from "../ops/optimizer.ts";
import type { Engine, EngineReport, LossSums, StateKind, StepResult, Update } from "./engine.ts";
import { checkMemory } from "./memory.ts";
import { preferVulkan } from "./environment.ts";
import { openTuningCache } from "./tuningCache.ts";
import { QueueLimit } from "./queueLimit.ts";
import {
  countBytes,
  countFlops,
  type EnginePrograms,
  type EngineSpec,
  type LogitsProgram,
  type NextProgram,
  PREFILL,
  recordLogits,
  recordNext,
  recordPrograms,
} from "./programs.ts";

export interface LocalEngineOptions extends GpuOptions {
  /** Bytes of the machine's memory that a software adapter may take; without it that is not checked. */
  readonly freeMemory?: number;
  /** Measure kernel variants that were not measured on this adapter yet; the answers are kept in the user's cache. */
  readonly tune?: boolean;
  /** Called while kernels are measured. */
  readonly onTune?: (done: number, total: number) => void;
  /** Called while kernels compile. */
  readonly onCompile?: (done: number, total: number) => void;
}

/** What an engine would take, before anything is allocated. */
export function reportOf(spec: EngineSpec, programs: EnginePrograms, gpu: Gpu): EngineReport {
  const tokens = spec.microBatchSize * spec.columns;
  return {
    adapter: gpu.adapterName,
    isSoftware: gpu.isSoftware,
    microBatchSize: spec.microBatchSize,
    columns: spec.columns,
    parameters: programs.tensors.weights.tensors.map(({ name, shape }) => ({
      name,
      shape,
      decays: decays(shape),
    })),
    bytes: countBytes(programs),
    flopsPerToken: countFlops(programs.train ?? programs.evaluate) / tokens,
    startup: { deviceMs: 0, recordMs: 0, compileMs: 0, placeMs: 0 },
  };
}

/** Opens the GPU and lays an engine out without allocating it: what `--dry-run` shows. */
export async function planEngine(spec: EngineSpec, options: GpuOptions = {}): Promise<EngineReport> {
  preferVulkan();
  const gpu = await openGpu(options);
  try {
    return reportOf(spec, record(spec, gpu), gpu);
  } finally {
    gpu.close();
  }
}

/** @throws UserError if the model does not fit the adapter's limits */
function record(spec: EngineSpec, gpu: Gpu, choices?: Choices): EnginePrograms {
  try {
    return recordPrograms(spec, { ...gpu.limits, choices });
  } catch (error) {
    if (error instanceof RangeError) {
      throw new UserError(`${error.message}: choose a smaller model or micro-batch`);
    }
    throw error;
  }
}

/** Records with the variants that are fastest on this adapter; those that are not known yet are measured first. */
async function recordTuned(spec: EngineSpec, gpu: Gpu, options: LocalEngineOptions): Promise<EnginePrograms> {
  const cache = openTuningCache(gpu.adapterKey);
  const choices = new Choices(cache.read());
  const programs = record(spec, gpu, choices);
  if (choices.open.length === 0) return programs;
  await tune(gpu, choices, (name) => matmulQuestion(gpu.limits, name), options.onTune);
  cache.write(choices.answers);
  return record(spec, gpu, choices);
}

/** An engine on the caller's thread, which its waits block. @throws UserError if there is no adapter or too little memory */
export async function openLocalEngine(
  spec: EngineSpec,
  options: LocalEngineOptions = {},
): Promise<LocalEngine> {
  const begin = performance.now();
  preferVulkan();
  const gpu = await openGpu(options);
  const opened = performance.now();
  let runtime: Runtime | null = null;
  try {
    const programs = options.tune === true ? await recordTuned(spec, gpu, options) : record(spec, gpu);
    checkMemory(reportOf(spec, programs, gpu), options.freeMemory ?? Infinity);
    const recorded = performance.now();
    runtime = new Runtime(gpu);
    for (const arena of programs.tensors.arenas) await runtime.allocate(arena);
    const { train, evaluate, addLevel, update } = programs;
    const wanted = [evaluate, ...addLevel, ...(train ? [train] : []), ...(update ? [update] : [])];
    const loaded = await runtime.load(wanted, options.onCompile);
    const { compileMs } = runtime;
    const startup = {
      deviceMs: opened - begin,
      recordMs: recorded - opened,
      compileMs,
      placeMs: performance.now() - recorded - compileMs,
    };
    const [evaluation, ...others] = loaded;
    const levels = others.slice(0, addLevel.length);
    const [training, updating] = others.slice(addLevel.length);
    return new LocalEngine(gpu, runtime, spec, programs, { evaluation, levels, training, updating }, startup);
  } catch (error) {
    runtime?.close(); // a caller's device stays open
    gpu.close();
    throw error;
  }
}

interface LoadedPrograms {
  readonly evaluation: Program;
  readonly levels: readonly Program[];
  readonly training: Program | undefined;
  readonly updating: Program | undefined;
}

export class LocalEngine implements Engine {
  readonly report: EngineReport;
  readonly #gpu: Gpu;
  readonly #runtime: Runtime;
  readonly #spec: EngineSpec;
  readonly #recorded: EnginePrograms;
  readonly #programs: LoadedPrograms;
  /** For each level of the tree: does it hold a partial sum, an empty one, or nothing yet? */
  #levels: ("sum" | "empty" | null)[] = [];
  #nextWorker = 0;
  #runningIsEmpty = true;
  /** Steps whose results the ring holds. */
  #pending: number[] = [];
  #collected: StepResult[] = [];
  #slot = 0;
  #logits: (LogitsProgram & { program: Program }) | null = null;
  readonly #queue: QueueLimit;
  #next: (NextProgram & { programs: Program[] }) | null = null;

  constructor(
    gpu: Gpu,
    runtime: Runtime,
    spec: EngineSpec,
    recorded: EnginePrograms,
    programs: LoadedPrograms,
    startup: EngineReport["startup"],
  ) {
    this.#gpu = gpu;
    this.#runtime = runtime;
    this.#spec = spec;
    this.#recorded = recorded;
    this.#programs = programs;
    this.#queue = new QueueLimit(() => runtime.idle(), 1);
    this.report = { ...reportOf(spec, recorded, gpu), startup };
  }

  /** Bytes of the buffers that were made. */
  get allocatedBytes(): number {
    return this.#runtime.bytes;
  }

  #arena(kind: StateKind | "gradient"): Arena {
    const { weights, moments, partials } = this.#recorded.tensors;
    if (kind === "weights") return weights;
    if (this.#spec.training === null || moments === null) throw new Error("This engine does not train");
    return kind === "gradient" ? partials[0].gradients : moments[kind === "moment1" ? 0 : 1];
  }

  write(kind: StateKind, name: string, values: Float32Array<ArrayBuffer>): Promise<void> {
    this.#runtime.write(this.#arena(kind).get(name).whole(), values);
    this.#runtime.flush(); // what is written is staged on the host until a submit
    return Promise.resolve();
  }

  async read(kind: StateKind | "gradient", name: string): Promise<Float32Array<ArrayBuffer>> {
    return await this.#runtime.read(this.#arena(kind).get(name).whole());
  }

  beginStep(): Promise<void> {
    this.#levels = this.#programs.levels.map(() => null);
    this.#nextWorker = 0;
    this.#clearRunning();
    return Promise.resolve();
  }

  #clearRunning(): void {
    const { gradients, sums } = this.#recorded.tensors.partials[0];
    this.#runtime.clear(gradients);
    this.#runtime.clear(sums);
    this.#runningIsEmpty = true;
  }

  async accumulate(micro: Batch, step: number): Promise<void> {
    if (this.#programs.training === undefined) throw new Error("This engine does not train");
    const live = this.#writeBatch(micro, true);
    this.#runtime.run(this.#programs.training, { ...live, step });
    this.#runningIsEmpty = false;
    await this.#queue.add(this.report.flopsPerToken * micro.rows * micro.columns);
  }

  /** Copies a batch to the GPU. */
  #writeBatch(batch: Batch, withOrder: boolean): Live {
    const { microBatchSize, columns } = this.#spec;
    if (batch.rows > microBatchSize || batch.columns !== columns) {
      throw new Error(
        `A batch of ${batch.rows} x ${batch.columns} does not fit the engine's ${microBatchSize} x ${columns}`,
      );
    }
    const { vocabSize } = this.#spec.model;
    const wrong = batch.targets.find((id) => id !== IGNORE && (id < 0 || id >= vocabSize));
    if (wrong !== undefined) throw new Error(`Target ${wrong} is outside the vocabulary of ${vocabSize}`);
    const { tokens, samples, targets } = this.#recorded.tensors;
    const ids = Uint32Array.from(batch.inputs);
    const distinct = this.#writeTokens(tokens, ids, withOrder);
    this.#runtime.write(samples.rows(0, batch.rows), Uint32Array.from(batch.sampleIds));
    this.#runtime.write(targets.rows(0, ids.length), Int32Array.from(batch.targets));
    return { rows: ids.length, batch: batch.rows, columns, distinct };
  }

  #writeTokens(tokens: TokenInputs, ids: Uint32Array<ArrayBuffer>, withOrder: boolean): number {
    const { vocabSize } = this.#spec.model;
    const outside = ids.find((id) => id >= vocabSize);
    if (outside !== undefined) {
      throw new Error(`Token id ${outside | 0} is outside the vocabulary of ${vocabSize}`);
    }
    this.#runtime.write(tokens.ids.rows(0, ids.length), ids);
    if (!withOrder) return 0;
    const { distinctIds, starts, order } = sortTokens(ids, vocabSize);
    this.#runtime.write(tokens.distinctIds.rows(0, distinctIds.length), distinctIds);
    this.#runtime.write(tokens.starts.rows(0, starts.length), starts);
    this.#runtime.write(tokens.order.rows(0, order.length), order);
    return distinctIds.length;
  }

  /**
   * The tree over virtual workers as a binary counter: level l waits with the sum of 2^l workers for its twin. Workers
   * without samples count as empty sums, so that the tree depends on the workers' numbers alone.
   */
  endWorker(index: number): Promise<void> {
    if (index !== this.#nextWorker) {
      throw new Error(`Virtual worker ${index} ends, expected ${this.#nextWorker}: they end in order`);
    }
    this.#carry(this.#runningIsEmpty);
    this.#nextWorker++;
    return Promise.resolve();
  }

  #carry(carriesNothing: boolean): void {
    if (this.#levels.length === 0) return;
    if (this.#nextWorker === this.#spec.training!.virtualWorkers - 1) return; // the last one stays to be folded
    let empty = carriesNothing;
    let level = 0;
    for (; this.#levels[level] !== null; level++) empty = this.#addLevel(level, empty);
    this.#levels[level] = empty ? "empty" : "sum";
    if (empty) return;
    const { partials } = this.#recorded.tensors;
    this.#runtime.copy(partials[0].gradients, partials[level + 1].gradients);
    this.#runtime.copy(partials[0].sums, partials[level + 1].sums);
    this.#clearRunning();
  }

  /** Adds a level's partial sum to the running one; returns whether the result is still empty. */
  #addLevel(level: number, runningIsEmpty: boolean): boolean {
    const held = this.#levels[level];
    this.#levels[level] = null;
    if (held !== "sum") return runningIsEmpty;
    // An empty running sum is all zeros: adding to it copies.
    this.#runtime.run(this.#programs.levels[level]);
    return false;
  }

  async update({ step, learningRate }: Update): Promise<void> {
    const { training } = this.#spec;
    if (training === null || this.#programs.updating === undefined) {
      throw new Error("This engine does not train");
    }
    for (let level = 0; level < this.#levels.length; level++) {
      if (this.#levels[level] !== null) this.#runningIsEmpty = this.#addLevel(level, this.#runningIsEmpty);
    }
    if (this.#pending.length === RING_SLOTS) await this.#collect();
    this.#runtime.run(this.#programs.updating, {
      step,
      slot: this.#slot,
      learningRate,
      correction1: 1 / (1 - training.beta1 ** step),
      correction2: 1 / (1 - training.beta2 ** step),
    });
    this.#pending.push(step);
    this.#slot = (this.#slot + 1) % RING_SLOTS;
  }

  async #collect(): Promise<void> {
    const values = await this.#runtime.read(this.#recorded.tensors.ring.whole());
    this.#queue.emptied();
    const first = this.#slot - this.#pending.length + RING_SLOTS;
    this.#pending.forEach((step, i) => {
      const at = ((first + i) % RING_SLOTS) * RING_FIELDS;
      const [, lossSum, zSum, targetCount, gradNorm, halt] = values.subarray(at, at + RING_FIELDS);
      this.#collected.push({ step, lossSum, zSum, targetCount, gradNorm, halted: halt !== 0 });
    });
    this.#pending = [];
  }

  async metrics(): Promise<StepResult[]> {
    if (this.#pending.length > 0) await this.#collect();
    const results = this.#collected;
    this.#collected = [];
    return results;
  }

  clearHalt(): Promise<void> {
    this.#runtime.write(this.#recorded.tensors.control.whole(), new Float32Array(4));
    return Promise.resolve();
  }

  async evaluate(batch: Batch): Promise<LossSums> {
    const { microBatchSize, columns } = this.#spec;
    const rowLoss = new Float32Array(batch.rows);
    for (let from = 0; from < batch.rows; from += microBatchSize) {
      const part = sliceBatch(batch, from, Math.min(from + microBatchSize, batch.rows));
      this.#runtime.run(this.#programs.evaluation, this.#writeBatch(part, false));
      const losses = await this.#runtime.read(this.#recorded.tensors.losses.rows(0, part.rows * columns));
      for (let row = 0; row < part.rows; row++) {
        let sum = 0;
        for (let t = 0; t < columns; t++) {
          const at = row * columns + t;
          if (part.targets[at] !== IGNORE) sum += losses[2 * at];
        }
        rowLoss[from + row] = sum;
      }
    }
    return { rowLoss, targetCount: countTargets(batch) };
  }

  /** Logits (rows * columns, V) of a batch: memory for all of them is taken at the first call. */
  async logits(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    if (this.#logits === null) {
      const recorded = recordLogits(this.#spec, this.#gpu.limits, this.#recorded.tensors);
      await this.#runtime.allocate(recorded.arena);
      const [program] = await this.#runtime.load([recorded.placement]);
      this.#logits = { ...recorded, program };
    }
    this.#runtime.run(this.#logits.program, this.#writeBatch(batch, false));
    return await this.#runtime.read(this.#logits.logits.rows(0, batch.rows * batch.columns));
  }

  /** See Engine.next. */
  async next(tokens: Int32Array, start: number): Promise<Float32Array<ArrayBuffer>> {
    const next = await this.#openNext();
    const { model } = this.#spec;
    const most = positionKinds[model.positions].maxColumns(model) ?? model.seqLen;
    if (tokens.length === 0 || start + tokens.length > most) {
      throw new Error(`Positions ${start} to ${start + tokens.length} are outside 1 to ${most}`);
    }
    for (let from = 0; from < tokens.length; from += PREFILL) {
      const ids = Uint32Array.from(tokens.subarray(from, from + PREFILL));
      this.#writeTokens(next.tokens, ids, false);
      const columns = ids.length;
      const live = { rows: columns, batch: 1, columns, start: start + from, last: columns - 1 };
      this.#runtime.run(next.programs[columns === 1 ? 1 : 0], live);
    }
    return await this.#runtime.read(next.logits.whole());
  }

  async #openNext() {
    if (this.#next === null) {
      const recorded = recordNext(
        this.#spec,
        this.#spec.model.seqLen,
        this.#gpu.limits,
        this.#recorded.tensors,
      );
      for (const arena of recorded.arenas) await this.#runtime.allocate(arena);
      this.#next = { ...recorded, programs: await this.#runtime.load(recorded.placements) };
    }
    return this.#next;
  }

  /** Time of every dispatch of a micro-batch's forward and backward and of the update. */
  async profile(micro: Batch): Promise<DispatchTime[]> {
    const { training, updating } = this.#programs;
    if (training === undefined || updating === undefined) throw new Error("This engine does not train");
    const live = this.#writeBatch(micro, true);
    return [
      ...await this.#runtime.profile(training, live),
      ...await this.#runtime.profile(updating, { step: 1, correction1: 1, correction2: 1 }),
    ];
  }

  async idle(): Promise<void> {
    await this.#runtime.idle();
  }

  close(): Promise<void> {
    this.#runtime.close();
    this.#gpu.close();
    return Promise.resolve();
  }
}
