import type {
  CoordinatorMessage,
  Held,
  Identity,
  Keeps,
  MemberMessage,
  Setting,
} from "../control/messages.ts";
import type { Slowest } from "../sum/arrivals.ts";

/** How a coordinator is set up. Times are in milliseconds. */
export interface CoordinatorSettings {
  /** Members that a group without survivors waits for. */
  readonly minMembers: number;
  /** How long such a group waits for the members of the last epoch beyond that. */
  readonly waitMs: number;
  readonly heartbeatMs: number;
  /**
   * Go on without asking how many of the last epoch's members are here, nor who has a newer state on its disk: the user
   * says that no other group trains.
   */
  readonly force: boolean;
  /**
   * After so long in a step, who still computes is sent away if others don't. Default: never, as a first step compiles
   * kernels.
   */
  readonly stepTimeoutMs?: number;
}

/** Members, here or not, each with the step of the newest state on its own disk: what a process of its name brings. */
export type Keepers = Readonly<Record<string, number>>;

/** What outlives the coordinator: written and fsynced before an epoch is used. */
export interface SavedGroup {
  readonly identity: Identity;
  readonly epoch: number;
  /** Steps that were committed at least. */
  readonly step: number;
  /** Of that epoch, without those that have left. */
  readonly members: readonly string[];
  /** See `CoordinatorState`. */
  readonly electorates: readonly (readonly string[])[];
  readonly needsMajority: boolean;
  /** Absent in older files. */
  readonly keepers?: Keepers;
}

/**
 * - idle: said what it has, waits for an epoch
 * - active: in the epoch, at work on the step
 * - aborting: was told to give up, its answer is awaited
 * - following: copies the state of its donor, then the steps since
 * - warm: has caught up and goes on following: may enter
 */
export type Role = "idle" | "active" | "aborting" | "following" | "warm";

/** A connected member. */
export interface MemberRecord {
  readonly id: string;
  readonly link: number;
  readonly url: string;
  lastSeen: number;
  role: Role;
  /** As it last said. */
  appliedStep: number;
  digest: string;
  /** It has no state of its own, and copies one. */
  readonly isBlank: boolean;
  readonly keeps: Keeps;
  /** Its state is not what its digest says, and it has yet to say what else it has. */
  isWrong: boolean;
  /** See `hello`. */
  isProven: boolean;
  held: Held | null;
  /** The newest epoch that it is known to know of. */
  seenEpoch: number;
  /** It came with an epoch that it knows of: a process started anew knows none. */
  remembers: boolean;
  /** Its state is one that the group had. */
  survives: boolean;
  donor: string | null;
  /** From whom it could not copy: it gets another one, if there is one. */
  readonly failedDonor: string | null;
  /** It has the run's last state, and only waits for others to get it. */
  isDone: boolean;
  tokensPerSecond: number;
  exposedShare: number;
  /** The step that it has computed its part of, as of its last heartbeat; 0: none. */
  computed: number;
  /** Steps of this epoch in which it was last. */
  lastSteps: number;
  /** How long the others waited for it in those. */
  waitMs: number;
  /** Of that, for what it sent or got, when it had computed no longer than others. */
  linkMs: number;
  /** Why nothing goes on, as it was last told. */
  told: string | null;
}

/** What a member has said of another, or of itself, when it gave a step up. */
export interface Failure {
  readonly epoch: number;
  readonly by: string;
  readonly of: string;
  readonly reason: string;
}

/** Why a member is kept out of epochs: see `blame.ts`. */
export interface Aside {
  readonly until: number;
  /** How long that is; doubled if it is soon at fault again. */
  readonly ms: number;
  /** Whom it failed, or who failed it. */
  readonly others: readonly string[];
}

/** What a member has said about the step under way. */
export interface Ready {
  readonly digest: string;
  /** Of the state before it; undefined: not known. */
  readonly stateHash: string | undefined;
  readonly workMs: number;
  readonly slowest: Slowest | null;
}

export interface CoordinatorState {
  readonly settings: CoordinatorSettings;
  phase: "gathering" | "training" | "stopped";
  /** What the members were last told about why nothing goes on. */
  reason: string | null;
  /** Set by the first member. */
  identity: Identity | null;
  /** That of the group, for people; null: nobody has told since this process began. */
  config: readonly Setting[] | null;
  /** The newest that was used; 0: none. */
  epoch: number;
  /** Steps committed, as far as is known. */
  step: number;
  /** Of the state after them; null: unknown, the members that come tell. */
  digest: string | null;
  /** Of the newest epoch, by id, without those that have left. */
  epochMembers: readonly string[];
  /** Who stood by when it began, by id, without those that have left. */
  spares: readonly string[];
  /** Of those in the epoch, who was lost since it began. */
  lost: readonly string[];
  /**
   * The members of the last epoch that did a step with its spares, and of each epoch since, without those
   * that have left: a group that another coordinator could have formed has a strict majority of one of them.
   */
  electorates: readonly (readonly string[])[];
  /**
   * The file was lost, or is older than what members know: until the first commit after, an electorate's
   * strict majority is needed, because another coordinator may have the file, and of processes that know of
   * the group: one started anew can't say whose word its predecessor heeded last.
   */
  needsMajority: boolean;
  keepers: Keepers;
  /** Those of the file. */
  savedKeepers: Keepers;
  /** When gathering began, which is when the first member came; null: nobody is here. */
  since: number | null;
  lastTick: number | null;
  members: Map<string, MemberRecord>;
  /** Of each name, the processes that have come, the newest last: it has replaced the others. */
  processes: ReadonlyMap<string, readonly string[]>;
  ready: Map<string, Ready>;
  /** When the step under way began. */
  begunAt: number;
  /** How long the last steps took. */
  stepMs: readonly number[];
  /** Of the step under way has been said that it takes long. */
  isSlowSaid: boolean;
  /** Who alone has found so far that a step is not finite, and is to be left out: the others do it without it. */
  doubt: { readonly step: number; readonly by: string } | null;
  /** The step that a member can't do as all of them can't, and that the next epoch leaves out; null: none. */
  skip: number | null;
  /** Through which tries of the step under way were lost. */
  failures: readonly Failure[];
  /** Who stands aside, or did until lately, by id. */
  aside: ReadonlyMap<string, Aside>;
  /** Since when nobody keeps the run who should, and whether that was said; null: somebody does. */
  unkept: { readonly since: number; readonly isTold: boolean } | null;
  /** When a member first said that the run has reached its end; null: none has. */
  finishedAt: number | null;
}

/** What happens to a coordinator. A link is a connection's number; a later one's is larger. */
export type CoordinatorEvent =
  | { readonly kind: "message"; readonly link: number; readonly message: MemberMessage }
  /** The connection has ended. */
  | { readonly kind: "closed"; readonly link: number }
  /** Comes once a heartbeat at least. */
  | { readonly kind: "tick" }
  /** Another coordinator has the file, or the lock is lost. */
  | { readonly kind: "fenced"; readonly reason: string };

/** What is to be done, in this order: nothing is sent before the `persist` ahead of it is on disk. */
export type CoordinatorAction =
  | { readonly kind: "send"; readonly link: number; readonly message: CoordinatorMessage }
  | { readonly kind: "close"; readonly link: number }
  | { readonly kind: "persist"; readonly group: SavedGroup }
  | { readonly kind: "log"; readonly level: "info" | "warn"; readonly text: string }
  /** The run has reached its end and the last member has left. */
  | { readonly kind: "finished" }
  /** A person has to look at this. */
  | { readonly kind: "stop"; readonly reason: string };

/** An event under way: the state that it makes, and what is to be done. */
export interface Draft {
  readonly state: CoordinatorState;
  readonly now: number;
  readonly actions: CoordinatorAction[];
}

/** What another process of the same coordinator has to know. */
export function toSaved(state: CoordinatorState, identity: Identity): SavedGroup {
  const { epoch, step, epochMembers, electorates, needsMajority, keepers } = state;
  return { identity, epoch, step, members: epochMembers, electorates, needsMajority, keepers };
}

/** Writes that down. */
export function persist({ state, actions }: Draft, identity: Identity): void {
  state.savedKeepers = state.keepers;
  actions.push({ kind: "persist", group: toSaved(state, identity) });
}

/** Who counts where it is asked how many of the group are here. */
export function electorateOf({ epochMembers, spares }: CoordinatorState): string[] {
  return [...epochMembers, ...spares].sort();
}

/** The files of so many are remembered: names don't last everywhere. */
const MAX_KEEPERS = 128;

/** Notes what a member has on its disk. */
export function noteSaved({ state }: Draft, id: string, step: number): void {
  if ((state.keepers[id] ?? 0) === step) return;
  const entries = Object.entries({ ...state.keepers, [id]: step }).filter(([, saved]) => saved > 0);
  entries.sort(([, a], [, b]) => b - a);
  state.keepers = Object.fromEntries(entries.slice(0, MAX_KEEPERS));
}

/** Notes that a member has what a commit gives it. @param stateHash of the state before the step, if it was known */
export function noteApplied(member: MemberRecord, step: number, digest: string, stateHash?: string): void {
  Object.assign(member, { appliedStep: step, digest, held: null });
  member.isProven ||= stateHash !== undefined; // as the others find it, or as it finds itself
}

export function send({ actions }: Draft, { link }: { link: number }, message: CoordinatorMessage): void {
  actions.push({ kind: "send", link, message });
}

export function log({ actions }: Draft, level: "info" | "warn", text: string): void {
  actions.push({ kind: "log", level, text });
}

export function withRole({ state }: Draft, role: Role): MemberRecord[] {
  return [...state.members.values()].filter((member) => member.role === role).sort(byId);
}

export function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : 1;
}

/** Who speaks on a connection; undefined: nobody yet, or no longer. */
export function memberOf({ state }: Draft, link: number): MemberRecord | undefined {
  return [...state.members.values()].find((member) => member.link === link);
}
