import { UserError } from "../errors.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Applied, type Departure, NotFiniteError, type Replica, type Snapshot } from "../net/replica.ts";
import { hasFirstWeights } from "./firstWeights.ts";
import { inPortions } from "./portions.ts";
import type { RunFolder } from "./runFolder.ts";
import type { TrainState } from "./state.ts";
import { copyState, takeState } from "./stateBytes.ts";
import { type TrainingOptions, type TrainingResult, TrainingRun } from "./trainingRun.ts";
import { sumGradients, type WorkerRange } from "./trainStep.ts";
import { clearOptimizer } from "./weights.ts";

/**
 * A training whose steps are done together with other nodes: its sums go out, the sum over all comes in. What it tells,
 * keeps and comes to is what `runTraining` does, bit for bit.
 */
export class TrainingReplica implements Replica, Disposable {
  readonly #options: TrainingOptions;
  readonly #run: TrainingRun;
  #state: GroupState;
  /** Is the engine's state `#state`, all of it? Not while another one is put there, nor before the first one is. */
  #isWhole: boolean;
  /** Where the policy says so. */
  readonly skip?: (digest: string) => Promise<void>;

  private constructor(options: TrainingOptions, run: TrainingRun, { state, isBlank }: Start) {
    this.#options = options;
    this.#run = run;
    this.#state = state;
    this.#isWhole = !isBlank;
    if (options.config.train.nonFinite === "skip") this.skip = (digest) => this.#skip(digest);
  }

  /**
   * A training at its newest checkpoint, or at its start. The engine may have been used before.
   *
   * @throws UserError as `runTraining` does before its first step, and for policies by which a group's steps would not
   * be done one after the other; the signal's reason
   */
  static async open(options: TrainingOptions): Promise<TrainingReplica> {
    checkPolicy(options.config);
    const run = new TrainingRun(options);
    try {
      return new TrainingReplica(options, run, await start(options, run));
    } catch (error) {
      run[Symbol.dispose]();
      throw error;
    }
  }

  get sumLength(): number {
    return this.#options.engine.report.sumLength;
  }

  /** Where the run starts from a model whose weights are elsewhere, and nothing is kept here. */
  get isBlank(): boolean {
    return !this.#isWhole;
  }

  get applied(): Applied {
    return { step: this.#state.step, digest: this.#state.groupDigest };
  }

  get savedStep(): number {
    return this.#run.savedStep;
  }

  get totalSteps(): number {
    return this.#run.totalSteps;
  }

  /**
   * @throws UserError if a sum is not finite (policy `stop`), so that no other node has to take it for a fault of this
   * one; NotFiniteError (policy `skip`)
   */
  async sums(
    pieces: readonly WorkerRange[],
    into: readonly Float32Array[],
    signal: AbortSignal,
    departure?: Departure,
  ): Promise<string> {
    const { config: { scale: { virtualWorkers } }, engine, dataset } = this.#options;
    const step = this.#run.stepAt(this.#state, this.#state.step + 1);
    this.#run.feedback?.begin();
    let stateHash = 0;
    for (const [i, piece] of pieces.entries()) {
      const leaves = i === pieces.length - 1 ? departure : undefined;
      let fault: Error | null = null;
      const finish = (from: number, to: number) => {
        if (to === this.sumLength) { // the engine's hash of the weights, which nobody is to add
          stateHash = into[i][to - 1];
          into[i][to - 1] = 0;
        }
        this.#run.feedback?.round(into[i], from, to); // which can make it infinite
        if (areFinite(into[i].subarray(from, to))) leaves?.final(from, to);
        else fault ??= this.#notFinite(step.step);
      };
      let finished = Promise.resolve();
      try {
        await sumGradients(engine, dataset, step, virtualWorkers, piece, signal, {
          into: into[i],
          parts: leaves?.parts ?? 1,
          onFinal: (from, to) => {
            finished = finished.then(() => inPortions(from, to, finish, signal));
            finished.catch(() => {}); // seen when it is awaited
          },
        });
      } finally {
        await finished;
      }
      signal.throwIfAborted();
      if (fault !== null) throw fault;
    }
    return stateHash.toString(16).padStart(8, "0");
  }

  #notFinite(step: number): Error {
    const found = `Step ${step} has a loss or a gradient that is not finite`;
    if (this.skip !== undefined) return new NotFiniteError(found);
    return new UserError(
      `${found}; lower optimizer.learningRate and start the run again: it goes on from its last checkpoint`,
    );
  }

  /** @throws UserError if the step is not finite (policy `stop`), on all nodes alike, or the disk is full */
  async apply(sum: Float32Array, digest: string, trainedMs: number, isReplayed = false): Promise<void> {
    const { engine } = this.#options;
    const begin = performance.now() - trainedMs;
    if (isReplayed) this.#run.feedback?.discard();
    const { step, learningRate } = this.#run.stepAt(this.#state, this.#state.step + 1);
    await engine.writeSum(sum);
    await engine.update({ step, learningRate });
    await this.#goOn(await this.#run.settle(this.#state, begin), digest);
  }

  async #skip(digest: string): Promise<void> {
    await this.#goOn(await this.#run.skip(this.#state), digest);
  }

  async #goOn(state: TrainState, digest: string): Promise<void> {
    this.#state = inGroup(await this.#run.betweenSteps(inGroup(state, digest)), digest);
  }

  async snapshot(): Promise<Snapshot> {
    const { applied } = this;
    return { applied, ...await copyState(this.#options.engine, this.#state) };
  }

  async load(applied: Applied, chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<void> {
    this.#isWhole = false;
    const state = await takeState(this.#options.engine, chunks);
    this.#state = inGroup(await this.#run.adopt(state), applied.digest);
    this.#isWhole = true;
  }

  async restore(wrongFrom?: number): Promise<Applied> {
    this.#isWhole = false;
    if (wrongFrom !== undefined) await this.#run.distrust(wrongFrom);
    const { state, isBlank } = await start(this.#options, this.#run);
    this.#state = state;
    this.#isWhole = !isBlank;
    return this.applied;
  }

  /** Saves the state, which is whole, in another folder than the run's. */
  async saveIn(folder: RunFolder): Promise<void> {
    await this.#run.saveIn(folder, this.#state);
  }

  /** Saves the state. @returns whether there is a whole one */
  async keep(): Promise<boolean> {
    if (this.#isWhole) await this.#run.keep(this.#state);
    return this.#isWhole;
  }

  /**
   * Saves the state and, if the run is over, scores the whole held-out part. Where a copy was cut off, the state is what
   * `restore` gives.
   *
   * @throws the signal's reason if there is no whole state and it came; UserError if this node has never had one
   */
  async finish(): Promise<TrainingResult> {
    if (!this.#isWhole) await this.restore();
    if (this.isBlank) {
      throw new UserError(
        "The group has ended before this node had a state of its run, and there are no weights to start from here; " +
          "join a group that trains, or copy the weights to this machine (from=...)",
      );
    }
    return await this.#run.finish(this.#state);
  }

  [Symbol.dispose](): void {
    this.#run[Symbol.dispose]();
  }
}

/**
 * In a group a step's number names a state, and grows by one with each: so a step that is not finite can stop the run, or
 * be counted and left out, but not be done again with other data or take others back.
 */
function checkPolicy({ train: { nonFinite, skippedStepCounts } }: RunConfig): void {
  if (nonFinite === "rollback") {
    throw new UserError(
      "train.nonFinite is rollback, but the nodes of a group don't go back to earlier steps; set it to skip, or train " +
        "alone until the failing batch is passed: a group goes on from there",
    );
  }
  if (nonFinite === "skip" && !skippedStepCounts) {
    throw new UserError(
      "train.skippedStepCounts is false, but in a group every step counts; set it to true, or train.nonFinite to stop",
    );
  }
}

/** Are all values finite? Zero times any of them is zero then. */
function areFinite(values: Float32Array): boolean {
  let zero = 0;
  for (let i = 0; i < values.length; i++) zero += 0 * values[i];
  return zero === 0;
}

/** A state that the group has a name for. */
type GroupState = TrainState & { readonly groupDigest: string };

function inGroup(state: TrainState, groupDigest: string): GroupState {
  return { ...state, groupDigest };
}

interface Start {
  readonly state: GroupState;
  /** There is no state. */
  readonly isBlank: boolean;
}

/** Stands where a state's digest does, and is none's. */
const BLANK = "0".repeat(64);

/**
 * A state that no group has made is named by its own digest: nodes that have trained alone for as many steps can go on
 * together if they have the same bits.
 */
async function start({ engine, folder, config }: TrainingOptions, run: TrainingRun): Promise<Start> {
  await clearOptimizer(engine);
  // a run's folder keeps a state from the start on
  if (folder === null && !hasFirstWeights(config)) {
    return { state: inGroup(run.blank(), BLANK), isBlank: true };
  }
  const state = await run.start();
  return { state: inGroup(state, state.groupDigest ?? await run.digest(state)), isBlank: false };
}
