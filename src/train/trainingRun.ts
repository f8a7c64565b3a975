import { deriveRun, type RunSpec } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import { UserError } from "../errors.ts";
import type { Engine, StepResult } from "../engine/engine.ts";
import { ErrorFeedback } from "./errorFeedback.ts";
import { openHaltPolicy } from "./halt.ts";
import { isDue } from "./interval.ts";
import { type Meter, openMeter } from "./meter.ts";
import { type MetricsLog, openMetricsLog, type StepLine } from "./metricsLog.ts";
import type { RunFolder } from "./runFolder.ts";
import { learningRateAt } from "./schedule.ts";
import type { TrainState } from "./state.ts";
import { openStore, type Store, type StoreOptions } from "./store.ts";
import type { Step } from "./trainStep.ts";
import { validate, type Validation } from "./validate.ts";

export interface TrainingOptions {
  readonly config: RunConfig;
  /** Fresh: weights are written by the trainer, moments are 0. */
  readonly engine: Engine;
  readonly dataset: Dataset;
  /** Where the run is kept, and goes on from if it was stopped. null: nothing is kept. */
  readonly folder: RunFolder | null;
  /** Drops the unfinished step, saves the last applied one, and ends; before the first step is applied, throws its reason. */
  readonly signal?: AbortSignal;
  /** Writes a text sample with the engine's weights, every `log.sampleEvery`. */
  readonly sampleText?: () => Promise<string>;
  /** Every `log.every` steps. */
  readonly onProgress?: (line: StepLine) => void;
  readonly onValidation?: (step: number, validation: Validation) => void;
  readonly onSample?: (step: number, text: string) => void;
  /** One-line news for the user: resumed, skipped, rolled back. */
  readonly onMessage?: (text: string) => void;
  /** Bytes that a folder's file system has left; asked before the first step and every checkpoint. */
  readonly freeBytes?: (folder: string) => number;
}

export interface TrainingResult {
  /** Steps that are done, those of earlier starts included. */
  readonly steps: number;
  /** See digest.ts. */
  readonly digest: string;
  /** Mean loss of the last step's targets; null if no step was left to do. */
  readonly finalLoss: number | null;
  /** On the whole held-out part; null if nothing is held out or the run was interrupted. */
  readonly validation: Validation | null;
  /** The signal came before the end: start again to go on. */
  readonly interrupted: boolean;
  /** The run's folder. */
  readonly folder: string | null;
}

/** Ask the engine for results about this often: it costs a wait, but what is queued can't be interrupted. */
const MAX_QUEUED_MS = 1000;

/** What is done between steps, when its interval has passed. */
type Duty = "validation" | "sample" | "checkpoint";

/**
 * What every training does around its steps, whoever computes their gradients: where it starts, what a step reads and
 * at which rate, what is told and kept, and how it ends. The state is handed in and out: it must be the engine's, with
 * nothing queued behind it but what `settle` is to read.
 */
export class TrainingRun implements Disposable {
  readonly #options: TrainingOptions;
  readonly #log: MetricsLog | null;
  readonly #run: RunSpec;
  readonly #storeOptions: StoreOptions;
  readonly #store: Store;
  /** Where gradients are rounded on their way to the nodes' sum. */
  readonly feedback: ErrorFeedback | null;
  readonly #meter: Meter;
  readonly #afterHalt: (state: TrainState, halted: StepResult) => Promise<TrainState>;
  /** When each duty was last done, by performance.now(). */
  readonly #doneAt: Record<Duty, number>;
  #finalLoss: number | null = null;

  /** @throws UserError if the log can't be written, or lengths and rates don't fit together */
  constructor(options: TrainingOptions) {
    const { config, engine, dataset, folder, onMessage = () => {}, freeBytes } = options;
    this.#options = options;
    this.#run = deriveRun(config);
    this.#log = folder === null ? null : openMetricsLog(folder.path, config.log.tensorboard);
    this.feedback = config.scale.wire === "bf16" ? new ErrorFeedback(engine.report.sumLength) : null;
    const { feedback } = this;
    const run = this.#run;
    this.#storeOptions = { config, run, engine, dataset, folder, feedback, onMessage, freeBytes };
    this.#store = openStore(this.#storeOptions);
    this.#meter = openMeter(config, this.#run, engine, dataset);
    this.#afterHalt = openHaltPolicy({
      ...{ config, run: this.#run, engine, store: this.#store, onMessage },
      folder: folder?.path ?? null,
    });
    const now = performance.now();
    this.#doneAt = { validation: now, sample: now, checkpoint: now };
  }

  /** Steps of the whole run. */
  get totalSteps(): number {
    return this.#run.totalSteps;
  }

  /** Of the newest checkpoint; 0: there is none. */
  get savedStep(): number {
    return this.#store.savedStep;
  }

  /** Puts the newest intact checkpoint, or the values of the start, on the engine. */
  async start(): Promise<TrainState> {
    const { config: { train }, folder, onMessage, signal } = this.#options;
    if (this.feedback !== null) {
      onMessage?.(
        "scale.wire is bf16: gradients are rounded on their way, and the result depends on the number of nodes",
      );
    }
    const resumed = await this.#store.resume();
    if (resumed !== null) onMessage?.(describeResumed(resumed.step, this.#run.totalSteps));
    const state = resumed ?? await this.#store.initialize(signal);
    signal?.throwIfAborted(); // nothing has come to pass that would have to be saved
    if (state.step < this.#run.totalSteps) this.#store.checkSpace();
    await this.#log?.cutBack(state);
    if (train.nonFinite === "rollback") {
      if (folder === null) {
        throw new UserError(
          "train.nonFinite is rollback, but nothing is saved without a run folder; set it to stop or skip",
        );
      }
      await this.#store.save(state);
    }
    return state;
  }

  /** The state at the start, of which the engine has nothing: another node's takes its place. */
  blank(): TrainState {
    return this.#store.first();
  }

  /** Goes on from a state that is on the engine already: another node's. */
  async adopt(state: TrainState): Promise<TrainState> {
    const adopted = await this.#store.adopt(state);
    await this.#log?.cutBack(adopted);
    return adopted;
  }

  /** Puts checkpoints aside that may be wrong: from a step on. */
  async distrust(step: number): Promise<void> {
    await this.#store.distrust(step);
  }

  /** What a step after the state is to do. */
  stepAt(state: TrainState, step: number): Step {
    const { firstSample, batchSize } = this.#run.batchAt(step);
    const learningRate = learningRateAt(this.#run.optimizer, this.#run.progressAt(step));
    return { step, learningRate, firstSample: firstSample + state.sampleOffset, batchSize };
  }

  /** Validates, samples and saves, each if it is due. On an interrupt nothing is due any more. */
  async betweenSteps(state: TrainState): Promise<TrainState> {
    const { config, engine, dataset, signal, sampleText } = this.#options;
    let isBest = false;
    if (this.#isDue("validation", state, state.step) && !signal?.aborted) {
      const validation = await validate(engine, dataset, config.validation.samples, signal);
      if (validation === null) return state;
      isBest = state.best === null || validation.loss < state.best.loss;
      state = {
        ...state,
        validatedStep: state.step,
        best: isBest ? { step: state.step, loss: validation.loss } : state.best,
      };
      this.#log?.validation(state.step, validation, false);
      this.#options.onValidation?.(state.step, validation);
      this.#doneAt.validation = performance.now();
    }
    if (sampleText && this.#isDue("sample", state, state.step) && !signal?.aborted) {
      const text = await sampleText();
      state = { ...state, sampledStep: state.step };
      this.#log?.sample(state.step, text);
      this.#options.onSample?.(state.step, text);
      this.#doneAt.sample = performance.now();
    }
    if ((isBest && config.checkpoint.best) || this.#isDue("checkpoint", state, state.step)) {
      await this.#store.save(state);
      this.#doneAt.checkpoint = performance.now();
    }
    return state;
  }

  /**
   * Reads the results of the queued steps. What was queued behind a failed one was not applied.
   *
   * @param begin when the first of them began, by performance.now()
   */
  async settle(state: TrainState, begin: number): Promise<TrainState> {
    const results = await this.#options.engine.metrics();
    const ms = performance.now() - begin;
    const halted = results.find((result) => result.halted);
    const applied = results.filter((result) => !result.halted);
    if (halted === undefined) this.feedback?.commit();
    else this.feedback?.discard();
    const last = applied.at(-1);
    if (last !== undefined) {
      const progress = this.#run.progressAt(last.step);
      this.#meter.count(applied.length, progress.tokens - state.tokens, ms);
      state = { ...state, ...progress, groupDigest: null };
      this.#finalLoss = last.lossSum / last.targetCount;
      if (this.#isLogged(last.step)) {
        const line = this.#meter.line(last);
        this.#log?.step(line);
        this.#options.onProgress?.(line);
      }
    }
    if (halted === undefined) return state;
    const next = await this.#afterHalt(state, halted);
    if (next.step < state.step) await this.#log?.cutBack(next);
    return { ...next, groupDigest: null };
  }

  /** Leaves the next step out, as the run's policy has it for one that is not finite. */
  async skip(state: TrainState): Promise<TrainState> {
    this.feedback?.discard();
    const halted = {
      step: state.step + 1,
      lossSum: NaN,
      zSum: NaN,
      targetCount: 1,
      gradNorm: NaN,
      halted: true,
    };
    return { ...await this.#afterHalt(state, halted), groupDigest: null };
  }

  /**
   * Must the results be read after `step`, the last of those queued behind the state? What rounding loses goes to the
   * next step only if the step was applied: there each is read.
   */
  mustSettle(state: TrainState, step: number): boolean {
    const duties: Duty[] = ["validation", "sample", "checkpoint"];
    const queued = step - state.step;
    return step >= this.#run.totalSteps || this.#isLogged(step) || this.feedback !== null ||
      (queued + 1) * this.#meter.msPerStep > MAX_QUEUED_MS || this.#meter.msPerStep === 0 ||
      duties.some((duty) => this.#isDue(duty, state, step));
  }

  isOver(state: TrainState): boolean {
    return state.step >= this.#run.totalSteps;
  }

  /** See digest.ts. */
  digest(state: TrainState): Promise<string> {
    return this.#store.digest(state);
  }

  /** Saves the state. */
  async keep(state: TrainState): Promise<void> {
    await this.#store.save(state);
  }

  /** Saves the state in another folder than the run's. */
  async saveIn(folder: RunFolder, state: TrainState): Promise<void> {
    await openStore({ ...this.#storeOptions, folder }).save(state);
  }

  /** Saves the state and, at the end, scores the whole held-out part. */
  async finish(state: TrainState): Promise<TrainingResult> {
    const { engine, dataset, folder, signal } = this.#options;
    await this.keep(state);
    const validation = this.isOver(state) ? await validate(engine, dataset, Infinity, signal) : null;
    if (validation !== null) this.#log?.validation(state.step, validation, true);
    return {
      steps: state.step,
      digest: await this.#store.digest(state),
      finalLoss: this.#finalLoss,
      validation,
      interrupted: !this.isOver(state) || (validation === null && dataset.validationRows > 0),
      folder: folder?.path ?? null,
    };
  }

  [Symbol.dispose](): void {
    this.#log?.[Symbol.dispose]();
  }

  #isLogged(step: number): boolean {
    return step === 1 || step % this.#options.config.log.every === 0 || step === this.#run.totalSteps;
  }

  #isDue(duty: Duty, state: TrainState, step: number): boolean {
    const { config, dataset, sampleText } = this.#options;
    const { every, last } = {
      validation: {
        every: dataset.validationRows > 0 ? config.validation.every : null,
        last: state.validatedStep,
      },
      sample: { every: sampleText ? config.log.sampleEvery : null, last: state.sampledStep },
      checkpoint: { every: config.checkpoint.every, last: this.#store.savedStep },
    }[duty];
    const elapsed = performance.now() - this.#doneAt[duty];
    return isDue(every, this.#run.progressAt(last), this.#run.progressAt(step), elapsed);
  }
}

function describeResumed(step: number, totalSteps: number): string {
  if (step <= totalSteps) return `Going on from step ${step} of ${totalSteps}`;
  return `The run has done ${step} steps, more than the ${totalSteps} of train.duration: there is nothing to do`;
}
