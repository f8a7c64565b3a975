/**
 * A running member: the state machine of memberState.ts with its line to the coordinator, its clock, and
 * its work. Events go in, its actions are carried out in order.
 */
import { UserError } from "../errors.ts";
import { ControlLine } from "./control/controlLine.ts";
import { type Identity, type Keeps, MAX_MEMBERS, toReason, toSettings } from "./control/messages.ts";
import { type Log, SteadyLog } from "./control/steadyLog.ts";
import type { OpenSocket } from "./link/connect.ts";
import { describeRefusal, Gate } from "./link/gate.ts";
import { listen, type Listener, type ListenOptions, urlOf } from "./link/listenServer.ts";
import { OwnServer } from "./link/ownServer.ts";
import { explainPlainData } from "./link/plainData.ts";
import { DATA_PATH, DATA_ROLES } from "./member/dataPlane.ts";
import { advanceMember, createMember } from "./member/memberState.ts";
import { MemberWork } from "./member/memberWork.ts";
import { bucketElementsOf } from "./member/stepSum.ts";
import type { MemberAction, MemberEvent, MemberState } from "./member/types.ts";
import type { Replica } from "./replica.ts";
import type { WireTypes } from "./sum/wireTypes.ts";

export interface JoinOptions {
  /** Such as `ws://host:7777`. */
  readonly coordinator: string;
  readonly token: CryptoKey;
  /** What all members have in common, the number of virtual workers too. */
  readonly identity: Identity;
  /** What the identity's `configDigest` is of, so that people can be told where configs differ. Default: it isn't told. */
  readonly config?: readonly (readonly [name: string, value: string])[];
  /** One process at a time has it. */
  readonly memberId: string;
  readonly replica: Replica;
  /** Where the run is kept; default: nowhere. */
  readonly keeps?: Keeps;
  /** Where the other members reach this one; by default any free port of 127.0.0.1. */
  readonly listen?:
    | ListenOptions & {
      /** What the others are told; by default where it listens. */
      readonly url?: string;
    }
    | OwnServer;
  /** Where more is needed than a URL: a private CA. */
  readonly openSocket?: OpenSocket;
  /**
   * The longest part of a sum that is exchanged at a time, the same on all members; default: by the sum's
   * length.
   */
  readonly bucketElements?: number;
  /** How values travel, the same on all members. */
  readonly wire?: WireTypes;
  /** So many values at the end of a sum are never rounded: counts. */
  readonly exactValues?: number;
  /** Tokens of a step, for what `status` shows. */
  readonly tokensOf: (step: number) => number;
  /** Ends the member at once; `leave` waits for the step's end. */
  readonly signal?: AbortSignal;
  readonly log: Log;
  /** Told of each thing that the member does, before it is done: for whoever keeps account of a group. */
  readonly onAction?: (action: MemberAction) => void;
}

/** Why a member was sent away; `retry`: a process started anew may join. */
export interface Refusal {
  readonly reason: string;
  readonly retry: boolean;
}

export interface Node {
  /** Of its data plane, as the others know it. */
  readonly url: string;
  /**
   * Resolves when the member's part is over and everything is closed: the run has ended, the member has
   * left, or it was refused.
   *
   * Rejects with a UserError where the coordinator doesn't take the token, with the signal's reason, and
   * with whatever the replica throws.
   */
  readonly done: Promise<{ readonly refusal: Refusal | null }>;
  /** Is it this member's to keep the run's last state, as no member of the last epoch keeps the run? */
  readonly isHeir: boolean;
  /** Leaves at the next step boundary. @param finished the run has reached its end */
  leave(finished: boolean): void;
}

/** Members that may dial at the same moment, and all that one address may have open: links and followers. */
const MAX_DIALLING = MAX_MEMBERS;
const MAX_PER_ADDRESS = 4 * MAX_MEMBERS;

/**
 * Joins a group and trains `replica` with it until the run's last step. Waits for a coordinator that isn't
 * there, or is gone, as long as that takes.
 *
 * @throws UserError if it can't listen, or listens where the others would not know how to reach it
 *
 * @example
 * ```ts
 * const log = (_level: string, text: string) => console.log(text);
 * const coordinator = "ws://host:7777";
 * const node = joinGroup({ coordinator, token, identity, memberId: "a", replica, tokensOf, log });
 * const { refusal } = await node.done;
 * ```
 */
export function joinGroup(options: JoinOptions): Node {
  return new Member(options);
}

class Member implements Node {
  readonly url: string;
  readonly done: Promise<{ readonly refusal: Refusal | null }>;
  readonly #options: JoinOptions;
  readonly #steady: SteadyLog;
  readonly #work: MemberWork;
  readonly #listener: Door;
  readonly #line: ControlLine;
  readonly #ending = Promise.withResolvers<{ readonly refusal: Refusal | null }>();
  readonly #onAbort = () => this.#fail(this.#options.signal?.reason);
  #state: MemberState;
  #beat: { readonly everyMs: number; readonly timer: ReturnType<typeof setInterval> };
  #isOver = false;
  #failure: { readonly error: unknown } | null = null;

  constructor(options: JoinOptions) {
    const { coordinator, token, identity, memberId, replica, openSocket: open, tokensOf, signal } = options;
    this.#options = options;
    this.#steady = new SteadyLog(options.log);
    const log: Log = (level, text) => this.#log(level, text);
    this.done = this.#ending.promise;
    const { bucketElements = bucketElementsOf(replica.sumLength), wire = {}, exactValues = 0 } = options;
    const epoch = () => this.#state.seen.epoch;
    this.#work = new MemberWork({
      dialler: { run: identity.run, id: memberId, token, open },
      replica,
      virtualWorkers: identity.virtualWorkers,
      bucketElements,
      wire,
      exactValues,
      tokensOf,
      epoch,
      heartbeatMs: () => this.#state.heartbeatMs,
      isWhole: () => {
        const { phase, isBlank } = this.#state;
        return phase !== "copying" && phase !== "restoring" && !isBlank;
      },
      tell: (event) => this.#tell(event),
      onError: (error) => this.#fail(error),
    });
    try {
      this.#listener = openDoor(this.#work, options, log);
    } catch (error) {
      this.#work.close(); // its thread
      throw error;
    }
    this.url = options.listen?.url ?? this.#listener.url;
    const config = toSettings(options.config ?? []);
    const { keeps = "nowhere" } = options;
    const process = crypto.getRandomValues(new Uint8Array(8)).toHex();
    const { totalSteps } = replica;
    const settings = { identity, config, memberId, process, url: this.url, keeps, totalSteps };
    this.#state = createMember(settings, replica.applied, performance.now(), replica.isBlank);
    this.#beat = this.#beatEvery(this.#state.heartbeatMs);
    this.#line = new ControlLine({
      coordinator,
      token,
      memberId,
      open,
      epoch,
      onLinked: () => this.#tell({ kind: "linked" }),
      onMessage: (message) => this.#tell({ kind: "message", message }),
      onUnlinked: () => this.#tell({ kind: "unlinked" }),
      log,
    });
    this.#line.ended.catch((error) => this.#fail(error));
    signal?.addEventListener("abort", this.#onAbort);
    if (signal?.aborted) this.#onAbort();
  }

  get isHeir(): boolean {
    return this.#state.heir === this.#options.memberId;
  }

  leave(finished: boolean): void {
    this.#tell({ kind: "leave", finished });
  }

  /** Nothing that is called in here tells anything in turn before it returns: actions stay in order. */
  #tell(event: MemberEvent): void {
    if (this.#isOver) return;
    try {
      const { state, actions } = advanceMember(this.#state, event, performance.now());
      this.#state = state;
      if (state.heartbeatMs !== this.#beat.everyMs) {
        clearInterval(this.#beat.timer);
        this.#beat = this.#beatEvery(state.heartbeatMs);
      }
      for (const action of actions) this.#carryOut(action);
    } catch (error) {
      this.#fail(error);
    }
  }

  #carryOut(action: MemberAction): void {
    this.#options.onAction?.(action);
    switch (action.kind) {
      case "send":
        return this.#line.send(action.message);
      case "relink":
        return this.#line.relink(action.reason);
      case "begin":
        return this.#work.begin(action.work);
      case "pause":
        return this.#work.pause();
      case "cancel":
        return this.#work.cancel();
      case "apply":
        return this.#work.apply(action.step, action.digest);
      case "copy":
        return this.#work.copy(action.donor);
      case "replay":
        return this.#work.replay(action.donor, action.step);
      case "stopFollowing":
        return this.#work.stopFollowing();
      case "restore":
        return this.#work.restore(action.wrongFrom);
      case "log":
        return this.#log(action.level, action.text);
      case "end":
        this.#end(action.refusal);
    }
  }

  #log(level: Parameters<Log>[0], text: string): void {
    this.#steady.say(level, text, performance.now());
  }

  #beatEvery(everyMs: number): { readonly everyMs: number; readonly timer: ReturnType<typeof setInterval> } {
    const beat = () => {
      this.#tell({ kind: "tick", saved: this.#options.replica.savedStep });
      this.#steady.tick(performance.now());
      const { seen: { epoch }, applied: { step }, saved } = this.#state;
      const { computed, pace: { tokensPerSecond, exposedShare } } = this.#work;
      this.#line.send({ type: "heartbeat", epoch, step, saved, tokensPerSecond, exposedShare, computed });
    };
    return { everyMs, timer: setInterval(beat, everyMs) };
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    if (!this.#isOver) this.#sayFarewell(error);
    this.#end(null);
  }

  /** Says why this member does no further step, and that it trains nowhere else. */
  #sayFarewell(error: unknown): void {
    const { seen: { epoch }, applied } = this.#state;
    const reason = toReason(error instanceof Error ? error.message : String(error));
    this.#line.send({ type: "failed", epoch, step: applied.step + 1, peer: null, reason });
    this.#line.send({ type: "leaving", finished: false });
  }

  /** What was committed is still applied; everything else ends. */
  async #end(refusal: Refusal | null): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#beat.timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#line.close();
    await this.#work.close();
    await this.#line.ended.catch(() => {}); // `fail` has heard of it
    await this.#listener.close();
    this.#steady.flush();
    if (this.#failure === null) this.#ending.resolve({ refusal });
    else this.#ending.reject(this.#failure.error);
  }
}

/** Where the others come in. */
type Door = Pick<Listener, "url" | "close">;

function openDoor(
  work: MemberWork,
  { coordinator, listen: where = {}, identity, memberId, token }: JoinOptions,
  log: Log,
): Door {
  requireReachable(coordinator, where);
  const door = {
    token,
    run: identity.run,
    roles: DATA_ROLES,
    id: memberId,
    enter: work.enter.bind(work),
  };
  const gate = new Gate({
    doors: { [DATA_PATH]: door },
    maxPending: MAX_DIALLING,
    maxPerAddress: MAX_PER_ADDRESS,
    log: (event) => {
      const refusal = describeRefusal(event);
      if (refusal !== null) log("warn", refusal);
    },
  });
  return where instanceof OwnServer
    ? where.open(gate, DATA_PATH)
    : listen(gate, where, (text) => log("warn", text));
}

/**
 * Finds out whether a member could listen there, before all that it takes to join.
 *
 * @param coordinator its group's
 * @throws UserError if it can't, the others would not know how to reach it, or not as secretly as the coordinator
 */
export async function checkDoor(coordinator: string, where: JoinOptions["listen"] = {}): Promise<void> {
  requireReachable(coordinator, where);
  if (!(where instanceof OwnServer)) await listen(new Gate({ doors: {} }), where).close();
}

function requireReachable(coordinator: string, where: NonNullable<JoinOptions["listen"]>): void {
  const url = where.url ?? addressOf(where as ListenOptions);
  const refusal = explainPlainData(coordinator, url);
  if (refusal !== null) throw new UserError(refusal);
}

/** @throws UserError for all of a machine's addresses: it says not which of them */
function addressOf({ hostname = "127.0.0.1", port = 0, tls }: ListenOptions): string {
  if (!/^(0\.0\.0\.0|::)$/.test(hostname)) return urlOf(hostname, port, tls);
  throw new UserError(
    `${hostname} says not how to reach this member; give the address to tell the others, such as ws://10.0.0.7:7778`,
  );
}
