/** The running coordinator: the state machine of coordinatorState.ts with its file, its clock and its connections. */
import { UserError } from "../../errors.ts";
import { CONTROL_PATH, CONTROL_ROLES, COORDINATOR_ID, MEMBER_MESSAGES } from "../control/control.ts";
import { ControlLink } from "../control/controlLink.ts";
import {
  type CoordinatorMessage,
  type GroupStatus,
  MAX_MEMBERS,
  type MemberMessage,
  ProtocolError,
  toReason,
} from "../control/messages.ts";
import { SteadyLog } from "../control/steadyLog.ts";
import { type Claim, CONTROL_RUN } from "../link/auth.ts";
import { type Channel, describeClose } from "../link/channel.ts";
import { describeRefusal, Gate } from "../link/gate.ts";
import { listen, type Listener, type ListenOptions } from "../link/listenServer.ts";
import { explainPlainData } from "../link/plainData.ts";
import { type CoordinatorFile, openCoordinatorFile } from "./coordinatorFile.ts";
import { advanceCoordinator, createCoordinator } from "./coordinatorState.ts";
import { groupStatus } from "./status.ts";
import type {
  CoordinatorAction,
  CoordinatorEvent,
  CoordinatorSettings,
  CoordinatorState,
  SavedGroup,
} from "./types.ts";

export interface CoordinatorOptions {
  /** Holds its file and the lock on it: one coordinator at a time, and the next one goes on from there. */
  readonly folder: string;
  readonly token: CryptoKey;
  readonly settings: CoordinatorSettings;
  /** By default any free port of 127.0.0.1. */
  readonly listen?: ListenOptions;
  /** Ends the coordinator; the members hold until one comes back. */
  readonly signal: AbortSignal;
  /** Takes a line for people: what happens to the group, and who was turned away. */
  readonly log: (level: "info" | "warn", text: string) => void;
}

export interface Coordinator {
  /** Such as `ws://127.0.0.1:7777`, for members and watchers. */
  readonly url: string;
  /**
   * Resolves once the run is finished and everybody has left, or the signal was aborted, and all is closed.
   *
   * Rejects with a UserError where a person has to look: nothing can go on, or the file can't be written; with a
   * RetryError if the file was taken over.
   */
  readonly ended: Promise<void>;
  status(): GroupStatus;
}

const TICKS_PER_BEAT = 4;
/** In heartbeats; a link closes after 2.5 of them in silence. Members are lost sooner, this is for everybody else. */
const LINK_BEAT = 2;

/**
 * Runs a group's coordinator in this process.
 *
 * @throws UserError if another one has the folder, if its file can't be read, or if it can't listen
 *
 * @example
 * ```ts
 * const settings = { minMembers: 2, waitMs: 30_000, heartbeatMs: 1000, force: false };
 * const log = (_level: string, text: string) => console.log(text);
 * const coordinator = await runCoordinator({ folder: "runs/.coordinator", token, settings, signal, log });
 * console.log(coordinator.url);
 * await coordinator.ended;
 * ```
 */
export async function runCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const file = await openCoordinatorFile(options.folder);
  try {
    return new RunningCoordinator(file, options);
  } catch (error) {
    if (file.saved === null) file.discard();
    else file[Symbol.dispose]();
    throw error;
  }
}

class RunningCoordinator implements Coordinator {
  readonly ended: Promise<void>;
  readonly #file: CoordinatorFile;
  readonly #options: CoordinatorOptions;
  readonly #listener: Listener;
  readonly #ending = Promise.withResolvers<void>();
  readonly #steady: SteadyLog;
  readonly #links = new Map<number, ControlLink<MemberMessage, CoordinatorMessage>>();
  #numLinks = 0;
  #state: CoordinatorState;
  #isEnding = false;
  /** Resolves when all events so far are dealt with. */
  #turn: Promise<void> = Promise.resolve();

  constructor(file: CoordinatorFile, options: CoordinatorOptions) {
    const { token, settings, signal } = options;
    this.#file = file;
    this.#options = options;
    // no coordinator has news of another one
    this.#steady = new SteadyLog((level, text) => options.log(level === "news" ? "info" : level, text));
    const log = (level: "info" | "warn", text: string) => this.#log(level, text);
    this.#state = resume(settings, file.saved);
    const { identity, epoch } = this.#state;
    if (identity !== null) {
      const { run } = identity;
      log("info", `Goes on with run "${run}" after epoch ${epoch}; another run needs a folder of its own`);
    }
    const door = {
      token,
      run: CONTROL_RUN,
      roles: CONTROL_ROLES,
      id: COORDINATOR_ID,
      enter: (channel: Channel, claim: Claim) => this.#enter(channel, claim),
    };
    const gate = new Gate({
      doors: { [CONTROL_PATH]: door },
      maxPending: MAX_MEMBERS, // a whole group comes back at once
      maxPerAddress: 2 * MAX_MEMBERS,
      log: (event) => {
        const refusal = describeRefusal(event);
        if (refusal !== null) log("warn", refusal);
      },
    });
    this.#listener = listen(gate, options.listen, (text) => log("warn", text));
    const timer = setInterval(() => {
      this.#take({ kind: "tick" });
      this.#steady.tick(performance.now());
    }, settings.heartbeatMs / TICKS_PER_BEAT);
    const stop = () => this.#end();
    signal.addEventListener("abort", stop);
    this.ended = this.#ending.promise.finally(async () => {
      clearInterval(timer);
      signal.removeEventListener("abort", stop);
      await this.#listener.close();
      await this.#turn;
      this.#steady.flush();
      file[Symbol.dispose]();
    });
    if (signal.aborted) stop();
  }

  get url(): string {
    return this.#listener.url;
  }

  status(): GroupStatus {
    return groupStatus(this.#state, performance.now());
  }

  #log(level: "info" | "warn", text: string): void {
    this.#steady.say(level, text, performance.now());
  }

  #enter(channel: Channel, claim: Claim): void {
    const { settings } = this.#options;
    const link = ++this.#numLinks;
    const refuse = (why: string) => {
      this.#log("warn", `${claim.id} is refused: ${why}`);
      control.send({ type: "refused", reason: toReason(why), retry: false, mismatch: true });
    };
    const control = new ControlLink<MemberMessage, CoordinatorMessage>(channel, {
      schema: MEMBER_MESSAGES,
      onMessage: (message) => {
        checkSender(message, claim);
        const refusal = message.type === "hello" ? explainPlainData(this.url, message.url) : null;
        if (refusal === null) return this.#take({ kind: "message", link, message });
        refuse(refusal);
        control.close();
      },
      onFault: (fault) => {
        if (fault instanceof ProtocolError) refuse(fault.message);
      },
    });
    this.#links.set(link, control);
    control.keepAlive(LINK_BEAT * settings.heartbeatMs, () => {});
    control.closed.then((reason) => {
      this.#links.delete(link);
      const { kind } = reason;
      if (kind !== "left" && kind !== "lost") {
        this.#log("warn", `Link of ${claim.id}: ${describeClose(reason)}`);
      }
      this.#take({ kind: "closed", link });
    });
  }

  /** Events are dealt with one after the other, each as of the moment at which it came. */
  #take(event: CoordinatorEvent): void {
    const now = performance.now();
    this.#turn = this.#turn.then(() => this.#advance(event, now)).catch((error) => this.#end(error));
  }

  async #advance(event: CoordinatorEvent, now: number): Promise<void> {
    if (this.#isEnding) return;
    const { state, actions } = advanceCoordinator(this.#state, event, now);
    this.#state = state;
    for (const action of actions) await this.#carryOut(action);
  }

  async #carryOut(action: CoordinatorAction): Promise<void> {
    switch (action.kind) {
      case "send":
        return this.#links.get(action.link)?.send(action.message);
      case "close":
        return this.#links.get(action.link)?.close();
      case "persist":
        return await this.#file.write(action.group);
      case "log":
        return this.#log(action.level, action.text);
      case "finished":
        return this.#end();
      case "stop":
        return this.#end(new UserError(action.reason));
    }
  }

  /** @param error why, where it is not as it should be */
  #end(error?: unknown): void {
    this.#isEnding = true;
    if (error === undefined) this.#ending.resolve();
    else this.#ending.reject(error);
  }
}

/** Once everybody has left properly nobody can be missed, and the folder may serve another run. */
function resume(settings: CoordinatorSettings, saved: SavedGroup | null): CoordinatorState {
  const state = createCoordinator(settings, saved);
  const isOver = state.epochMembers.length === 0 && state.electorates.length === 0;
  return isOver ? { ...state, identity: null, step: 0, keepers: {} } : state;
}

/** @throws Error for what the one who has proved to be `claim` may not say */
function checkSender(message: MemberMessage, { role, id }: Claim): void {
  if (message.type === "status") return;
  if (role !== "member") throw new Error(`${message.type} from a ${role}`);
  if (message.type === "hello" && message.memberId !== id) {
    throw new Error(`hello of ${message.memberId} from ${id}`);
  }
}
