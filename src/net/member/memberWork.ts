/**
 * What a member does when its state machine says so: steps with the others, copying and following a donor,
 * being one. What takes time is done one after the other; what is given up ends at once, and nothing more
 * is said of it.
 */
import { UserError } from "../../errors.ts";
import type { Claim } from "../link/auth.ts";
import type { Channel } from "../link/channel.ts";
import { NotFiniteError, type Replica, type Snapshot } from "../replica.ts";
import { Allreduce, ExchangeError } from "../sum/allreduce.ts";
import { Overlap } from "../sum/overlap.ts";
import { digestAfter } from "../sum/sumDigest.ts";
import { isRounded, type WireTypes } from "../sum/wireTypes.ts";
import { CommittedSums } from "./committedSums.ts";
import type { DataRole, Dialler } from "./dataPlane.ts";
import { Donor } from "./donor.ts";
import { DonorError, Follower } from "./follower.ts";
import { Mesh } from "./mesh.ts";
import { Pace } from "./pace.ts";
import { serialReplica } from "./serialReplica.ts";
import { createStepSum, openBuckets } from "./stepSum.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { MemberEvent, Peer, StepWork } from "./types.ts";

export interface WorkOptions {
  readonly dialler: Dialler;
  readonly replica: Replica;
  readonly virtualWorkers: number;
  readonly bucketElements: number;
  readonly wire: WireTypes;
  readonly exactValues: number;
  readonly tokensOf: (step: number) => number;
  readonly heartbeatMs: () => number;
  /** The newest epoch that this member knows. */
  readonly epoch: () => number;
  /** Is the replica's state one that can be copied? */
  readonly isWhole: () => boolean;
  readonly tell: (event: MemberEvent) => void;
  /** Told of what the replica throws, after which it does nothing more. */
  readonly onError: (error: unknown) => void;
}

/** What may be applied. */
interface Ready {
  /** null: the step is left out. */
  readonly sum: Float32Array | null;
  /** When nothing but the exchange went on any more, by the clock; null: it is replayed, or left out. */
  readonly exposedFrom: number | null;
  release(): void;
}

export class MemberWork {
  readonly pace = new Pace();
  readonly #overlap = new Overlap();
  /** Runs while a step is done here, or waited for by who follows; what `apply` does comes on top. */
  readonly #clock = new Stopwatch();
  readonly #options: WorkOptions;
  readonly #replica: Replica;
  readonly #mesh: Mesh;
  readonly #allreduce: Allreduce;
  readonly #sumStep: ReturnType<typeof createStepSum>;
  readonly #sums: CommittedSums;
  readonly #follower: Follower;
  readonly #donor: Donor;
  /** Resolves when all that was begun is over. */
  #jobs: Promise<void> = Promise.resolve();
  /** The step under way, and what gives it up. */
  #work: StepWork | null = null;
  #computed = 0;
  #giveUp = new AbortController();
  /** Ends copying and replaying. */
  #unfollow = new AbortController();
  /** The epoch that the allreduce is in. */
  #epoch = 0;
  #ready: Ready | null = null;

  constructor(options: WorkOptions) {
    const { dialler, virtualWorkers, bucketElements, wire, epoch, heartbeatMs, onError } = options;
    this.#options = options;
    this.#replica = serialReplica(options.replica);
    const { sumLength, applied } = this.#replica;
    const exactValues = isRounded(wire) ? options.exactValues : 0;
    const maxOpen = openBuckets(sumLength, bucketElements, exactValues);
    this.#mesh = new Mesh({
      dialler,
      arrayBytes: (header) => this.#allreduce.arrayBytes(header),
      onFrame: (peer, frame) => this.#allreduce.receive(peer, frame),
      onLost: (peer, reason) => this.#lose(peer, reason),
    });
    this.#allreduce = new Allreduce(this.#mesh, {
      self: dialler.id,
      virtualWorkers,
      bucketElements,
      exactValues,
      maxOpen,
      ...wire,
    });
    this.#sumStep = createStepSum(
      this.#allreduce,
      this.#replica,
      virtualWorkers,
      bucketElements,
      exactValues,
    );
    this.#sums = new CommittedSums(sumLength, applied.step);
    this.#follower = new Follower({ dialler, sumLength, bucketElements, exactValues, epoch, heartbeatMs });
    this.#donor = new Donor({ sums: this.#sums, snapshot: () => this.#snapshot(), heartbeatMs, onError });
  }

  /** The step under way if its own part of it is computed; 0: it isn't. */
  get computed(): number {
    return this.#computed;
  }

  /** Takes over the channel of whoever has dialled this member. */
  enter(channel: Channel, claim: Claim): void {
    const role: DataRole = claim.role === "member" ? "member" : "follower";
    if (role === "member") this.#mesh.enter(channel, claim);
    else this.#donor.enter(channel);
  }

  /** Does a step with the others; `reduced` or `failed` is told. */
  begin(work: StepWork): void {
    const { signal } = this.#giveUp = new AbortController();
    this.#work = work;
    this.#computed = 0;
    this.#do(() => this.#doStep(work, signal));
  }

  /** Gives the step up, and what is held of it. */
  cancel(): void {
    this.#work = null;
    this.#ready = null;
    this.#clock.stop();
    this.#giveUp.abort(new DOMException("The step was given up", "AbortError"));
    this.#allreduce.abort("The step was given up");
    this.#mesh.end();
  }

  /** Nothing goes on until something is begun or applied. */
  pause(): void {
    this.#clock.stop();
  }

  /** Updates the replica with the sum that was last told of. */
  apply(step: number, digest: string): void {
    const ready = this.#ready;
    if (ready === null) throw new Error(`There is no sum of step ${step}`);
    this.#ready = null;
    const exposedMs = ready.exposedFrom === null ? null : this.#clock.elapsed - ready.exposedFrom;
    const trainedMs = this.#clock.lap();
    const { signal } = this.#unfollow;
    this.#do(async () => {
      const begun = performance.now();
      if (ready.sum === null) {
        await this.#replica.skip?.(digest);
        this.#sums.skip(step);
      } else {
        await this.#replica.apply(ready.sum, digest, trainedMs, exposedMs === null);
        this.#sums.add(step, ready.sum);
      }
      ready.release();
      if (exposedMs === null) {
        if (!signal.aborted) this.#clock.start(); // who follows waits for the next one
        return;
      }
      const stepMs = trainedMs + performance.now() - begun;
      this.pace.step(this.#options.tokensOf(step), stepMs, exposedMs);
      this.#overlap.step(this.pace.stepMs, this.pace.exposedShare);
    });
  }

  /** Takes over a member's state; `copied` or `donorFailed` is told. */
  copy(donor: Peer): void {
    this.#follow(async (signal) => {
      const { applied, chunks } = await this.#follower.copy(donor, signal);
      await this.#replica.load(applied, chunks);
      this.#sums.reset(applied.step);
      this.#clock.lap();
      this.#clock.start();
      return { kind: "copied", ...applied };
    });
  }

  /** Fetches the sum of a committed step; `replayed` or `donorFailed` is told. */
  replay(donor: Peer, step: number): void {
    this.#clock.start();
    this.#follow(async (signal) => {
      const fetched = await this.#follower.fetchSum(donor, step, signal);
      if (fetched === null) {
        return { kind: "donorFailed", lacks: true, reason: `${donor.id} lacks the sum of step ${step}` };
      }
      const digest = await digestAfter(this.#replica.applied.digest, step, fetched.digests());
      this.#ready = { sum: fetched.sum, exposedFrom: null, release: () => {} };
      return { kind: "replayed", step, digest };
    });
  }

  stopFollowing(): void {
    this.#clock.stop();
    this.#unfollow.abort();
    this.#unfollow = new AbortController();
    this.#follower.stop();
  }

  /** Has the replica go back to what it has on its own disk, see `Replica.restore`; `restored` is told. */
  restore(wrongFrom?: number): void {
    this.#do(async () => {
      const { step, digest } = await this.#replica.restore(wrongFrom);
      this.#clock.lap();
      this.#sums.reset(step);
      this.#options.tell({ kind: "restored", step, digest, isBlank: this.#replica.isBlank });
    });
  }

  /** Gives everything up but what is to be applied; resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.cancel();
    this.stopFollowing();
    this.#sums.close();
    await this.#jobs;
    await this.#mesh.close();
    this.#allreduce.close();
  }

  #do(job: () => Promise<void>): void {
    this.#jobs = this.#jobs.then(job).catch(this.#options.onError);
  }

  #follow(ask: (signal: AbortSignal) => Promise<MemberEvent>): void {
    const { signal } = this.#unfollow;
    this.#do(async () => {
      if (signal.aborted) return;
      const event = await ask(signal).catch((error): MemberEvent => {
        if (error instanceof DonorError) return { kind: "donorFailed", lacks: false, reason: error.message };
        throw error;
      });
      if (!signal.aborted) this.#options.tell(event);
    });
  }

  async #doStep(work: StepWork, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { epoch, step } = work;
    const { applied } = this.#replica;
    if (step !== applied.step + 1) throw new Error(`Step ${step} on the state after step ${applied.step}`);
    try {
      if (epoch !== this.#epoch) await this.#beginEpoch(work);
      signal.throwIfAborted();
      this.#clock.start();
      const begun = this.#clock.elapsed;
      if (work.skip) return await this.#skipStep(work, signal);
      const onComputed = () => this.#computed = step;
      const summed = await this.#sumStep(work, signal, this.#overlap.parts, onComputed);
      const { sum, digests, stateHash, workMs, slowest, release } = summed;
      const digest = await digestAfter(applied.digest, step, digests);
      signal.throwIfAborted();
      this.#ready = { sum, exposedFrom: begun + workMs, release };
      const known = stateHash === undefined ? {} : { stateHash };
      this.#options.tell({ kind: "reduced", epoch, step, digest, ...known, workMs, slowest });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof NotFiniteError) {
        if (this.#replica.skip !== undefined) return this.#tellFailed(work, null, error.message, true);
        // Whoever does the step finds the same: this member ends, and so does the next one that adds these parts.
        throw new UserError(
          `${error.message} in step ${step}; make what is added smaller (in training: lower optimizer.learningRate), ` +
            "and start again",
        );
      }
      if (!(error instanceof ExchangeError)) throw error;
      this.#tellFailed(work, error.peer, error.message);
    }
  }

  /** The digest of a state in whose step nothing was added is a function of the one before it and the step alone. */
  async #skipStep({ epoch, step }: StepWork, signal: AbortSignal): Promise<void> {
    if (this.#replica.skip === undefined) throw new Error(`Step ${step} can't be left out here`);
    const digest = await digestAfter(this.#replica.applied.digest, step, ["skipped"]);
    signal.throwIfAborted();
    this.#ready = { sum: null, exposedFrom: null, release: () => {} };
    this.#options.tell({ kind: "reduced", epoch, step, digest, workMs: 0, slowest: null });
  }

  async #beginEpoch({ epoch, step, members }: StepWork): Promise<void> {
    const { dialler, heartbeatMs } = this.#options;
    this.stopFollowing();
    this.#overlap.restart();
    this.#mesh.begin(epoch, members.filter(({ id }) => id !== dialler.id), heartbeatMs());
    this.#epoch = epoch;
    await this.#allreduce.begin({ epoch, step, members: members.map(({ id }) => id) });
  }

  /** A peer of the epoch is gone: the step under way can't be done. */
  #lose(peer: string, reason: string): void {
    this.#allreduce.lost(peer, reason);
    if (this.#work !== null) this.#tellFailed(this.#work, peer, reason);
  }

  #tellFailed({ epoch, step }: StepWork, peer: string | null, reason: string, skip = false): void {
    const blamed = peer === this.#options.dialler.id ? null : peer;
    this.#options.tell({ kind: "failed", epoch, step, peer: blamed, reason, skip });
  }

  async #snapshot(): Promise<Snapshot | null> {
    return this.#options.isWhole() ? await this.#replica.snapshot() : null;
  }
}
