import type {
  CoordinatorMessage,
  Held,
  Identity,
  Keeps,
  MemberMessage,
  Membership,
  Setting,
} from "../control/messages.ts";
import type { Applied } from "../replica.ts";
import type { Slowest } from "../sum/arrivals.ts";
import type { Share } from "../sum/shares.ts";

/** What a member is, for as long as its process lives. */
export interface MemberSettings {
  readonly identity: Identity;
  /** See `hello`. */
  readonly config: readonly Setting[];
  readonly memberId: string;
  /** See `hello`. */
  readonly process: string;
  /** Of its data plane. */
  readonly url: string;
  readonly keeps: Keeps;
  /** Of the run: after so many, a member leaves. */
  readonly totalSteps: number;
}

/** A member that can be reached. */
export interface Peer {
  readonly id: string;
  readonly url: string;
}

/** An epoch as its members know it. */
export interface Epoch {
  readonly epoch: number;
  /** By id; member k has share k. */
  readonly members: readonly Peer[];
  /** The step that it leaves out; null: none. */
  readonly skip: number | null;
}

/** A step that a member has to do. */
export interface StepWork {
  readonly epoch: number;
  readonly step: number;
  readonly members: readonly Peer[];
  /** Of this member. */
  readonly share: Share;
  /** Leave the step out: there is no sum. */
  readonly skip: boolean;
}

/**
 * - idle: nothing to do until the coordinator says
 * - working: on a step of its epoch
 * - holding: said `ready`, waits for the coordinator's word
 * - copying: takes its donor's state; its own is no longer whole
 * - replaying: a whole state, to which committed steps are added as they come, until it may enter or, in its
 *   epoch, begin
 * - restoring: reads its own newest checkpoint, or the first weights
 * - ended: refused or released
 */
export type Phase = "idle" | "working" | "holding" | "copying" | "replaying" | "restoring" | "ended";

export interface MemberState {
  readonly settings: MemberSettings;
  phase: Phase;
  isLinked: boolean;
  /** The link has carried its config. */
  saidConfig: boolean;
  lastHeard: number;
  heartbeatMs: number;
  applied: Applied;
  /** It has none, and `applied` names none. */
  isBlank: boolean;
  /** Step of the newest state on its own disk; 0: none. */
  saved: number;
  held: Held | null;
  /** The newest epoch that it was told of; epoch 0: none. */
  seen: Membership;
  /** The epoch that it is in; null: it is in none, or has lost the coordinator since. */
  epoch: Epoch | null;
  /**
   * Its state is one that the group had: it took part in an epoch, or caught up, since it was read from a
   * disk.
   */
  survives: boolean;
  /** See `hello`. */
  isProven: boolean;
  /** Whom it follows. */
  donor: Peer | null;
  /** The newest step that it knew to be committed when its copy of the donor's state was whole; Infinity: it has none. */
  copiedAt: number;
  saidCaughtUp: boolean;
  /** Was its state, while it follows, once what the coordinator had committed? */
  isVerified: boolean;
  /** The step whose gradient it has asked its donor for. */
  fetching: number | null;
  /** Its donor has the sum that comes next no longer, and will be copied once the others wait. */
  lacksSum: boolean;
  /** The newest step that it knows to be committed, while it follows. */
  committed: Applied;
  /** Digests after the steps committed last. */
  digests: ReadonlyMap<number, string>;
  leaving: { readonly finished: boolean } | null;
  /** Who does the steps of the newest epoch that it was told of, by id. */
  actives: readonly string[];
  /** The last step that it began. */
  begun: number;
  /** Since when nothing goes on here: a step was given up, or has to wait; null: something does. */
  stoppedAt: number | null;
  /** The coordinator has said that nothing goes on. */
  isOnHold: boolean;
  /** Who keeps the last state of a run that no member of the newest epoch keeps; null: it is kept, or need not be. */
  heir: string | null;
}

/** What happens to a member. */
export type MemberEvent =
  | { readonly kind: "linked" }
  | { readonly kind: "unlinked" }
  | { readonly kind: "message"; readonly message: CoordinatorMessage }
  /** Comes once a heartbeat at least. `saved`: step of the newest state on the member's own disk. */
  | { readonly kind: "tick"; readonly saved?: number }
  /** The sum of a step is here whole. The digest is that of the state after it. */
  | {
    readonly kind: "reduced";
    readonly epoch: number;
    readonly step: number;
    readonly digest: string;
    /** See `ready`. */
    readonly stateHash?: string;
    readonly workMs: number;
    readonly slowest: Slowest | null;
  }
  /** A step can't be done; peer null: through this member's own fault. */
  | {
    readonly kind: "failed";
    readonly epoch: number;
    readonly step: number;
    readonly peer: string | null;
    readonly reason: string;
    /** All members would find the same, and the step is to be left out. */
    readonly skip?: boolean;
  }
  /** The donor's state is here. */
  | { readonly kind: "copied"; readonly step: number; readonly digest: string }
  /** A committed step's gradient is here. The digest is that of the state after it. */
  | { readonly kind: "replayed"; readonly step: number; readonly digest: string }
  /** The donor can't be reached; or, `lacks`: it no longer has the gradient that was asked for. */
  | { readonly kind: "donorFailed"; readonly lacks: boolean; readonly reason: string }
  | {
    readonly kind: "restored";
    readonly step: number;
    readonly digest: string;
    /** There was nothing. */
    readonly isBlank?: boolean;
  }
  /** Leave at the next step boundary. */
  | { readonly kind: "leave"; readonly finished: boolean };

/** What a member wants done, in this order. */
export type MemberAction =
  | { readonly kind: "send"; readonly message: MemberMessage }
  /** End the connection to the coordinator and make another. */
  | { readonly kind: "relink"; readonly reason: string }
  /** Compute the share's gradients and exchange them; then `reduced` or `failed`. */
  | { readonly kind: "begin"; readonly work: StepWork }
  /** Nothing goes on until the coordinator's next word: don't count the time. */
  | { readonly kind: "pause" }
  /** Forget the step under way, and what is held of it. */
  | { readonly kind: "cancel" }
  /** Update the model with the gradient that is held, or came with `replayed`. */
  | { readonly kind: "apply"; readonly step: number; readonly digest: string }
  /** Take over the donor's state; then `copied` or `donorFailed`. */
  | { readonly kind: "copy"; readonly donor: Peer }
  /** Fetch the reduced gradient of a committed step; then `replayed` or `donorFailed`. */
  | { readonly kind: "replay"; readonly donor: Peer; readonly step: number }
  /** Give up copying or replaying. */
  | { readonly kind: "stopFollowing" }
  /**
   * Read the newest checkpoint that verifies, or the first weights; then `restored`. `wrongFrom`: those from this step on
   * may be wrong.
   */
  | { readonly kind: "restore"; readonly wrongFrom?: number }
  | { readonly kind: "log"; readonly level: "info" | "warn" | "news"; readonly text: string }
  /** The member's part is over; null: as it wished. */
  | { readonly kind: "end"; readonly refusal: { readonly reason: string; readonly retry: boolean } | null };

/** An event under way: the state that it makes, and what is to be done. */
export interface Draft {
  readonly state: MemberState;
  readonly now: number;
  readonly actions: MemberAction[];
}
