/**
 * A member's side of the control plane, as a pure state machine: what it may apply when. Who runs it hands in
 * what the coordinator, the data plane and the engine say, and carries out the actions in order.
 *
 * - A step under way is given up at once when a peer fails, and the coordinator is told.
 * - With `ready`, that right ends: the reduced gradient is held until the coordinator says `commit` or
 *   something that takes its place (`abort`, a new epoch), also when the coordinator is gone and comes back.
 * - Only a held gradient whose digest is the committed one is applied; a follower applies only gradients of
 *   committed steps.
 * - No word of an epoch older than the newest one seen counts.
 */
import { type CoordinatorMessage, type MessageOf, MISSED_HEARTBEATS, toReason } from "../control/messages.ts";
import type { Applied } from "../replica.ts";
import { advanceFollowing, enterOrFollow, handleDonor, noteCommitted } from "./following.ts";
import { describeResumption } from "./news.ts";
import type { Draft, MemberAction, MemberEvent, MemberSettings, MemberState } from "./types.ts";
import { begin, dropWork, end, hello, leaveNow, restore, tell } from "./work.ts";

/** A member as it starts, on its newest checkpoint or the first weights. @param isBlank it has neither */
export function createMember(
  settings: MemberSettings,
  applied: Applied,
  now: number,
  isBlank = false,
): MemberState {
  return {
    settings,
    phase: "idle",
    isLinked: false,
    saidConfig: false,
    lastHeard: now,
    heartbeatMs: 1000,
    applied,
    isBlank,
    saved: settings.keeps === "here" ? applied.step : 0,
    held: null,
    seen: { epoch: 0, members: [] },
    epoch: null,
    survives: false,
    isProven: false,
    donor: null,
    copiedAt: Infinity,
    saidCaughtUp: false,
    isVerified: false,
    fetching: null,
    lacksSum: false,
    committed: applied,
    digests: new Map(),
    leaving: null,
    actives: [],
    begun: 0,
    stoppedAt: null,
    isOnHold: false,
    heir: null,
  };
}

/**
 * What an event makes of a member, and what is to be done about it.
 *
 * @param now milliseconds of a clock that never goes back
 * @returns the next state; the one handed in is not changed
 */
export function advanceMember(
  previous: MemberState,
  event: MemberEvent,
  now: number,
): { state: MemberState; actions: MemberAction[] } {
  const draft: Draft = { state: { ...previous }, now, actions: [] };
  if (previous.phase !== "ended") handle(draft, event);
  return { state: draft.state, actions: draft.actions };
}

function handle(draft: Draft, event: MemberEvent): void {
  const { state, now, actions } = draft;
  switch (event.kind) {
    case "linked":
      return link(draft);
    case "unlinked":
      return unlink(draft);
    case "message":
      state.lastHeard = now;
      return handleMessage(draft, event.message);
    case "tick":
      state.saved = event.saved ?? state.saved;
      if (state.isLinked && now - state.lastHeard > MISSED_HEARTBEATS * state.heartbeatMs) {
        actions.push({
          kind: "relink",
          reason: `it was silent for ${MISSED_HEARTBEATS * state.heartbeatMs / 1000} s`,
        });
        return unlink(draft);
      }
      return state.phase === "replaying" ? advanceFollowing(draft) : undefined;
    case "reduced": {
      if (!isUnderWay(draft, event)) return;
      const { kind: _, workMs, slowest, ...held } = event;
      state.held = held;
      state.phase = "holding";
      if (state.isLinked) {
        actions.push({ kind: "send", message: { type: "ready", ...held, workMs, slowest } });
      }
      if (!state.isLinked || state.isOnHold) actions.push({ kind: "pause" });
      return;
    }
    case "failed": {
      if (!isUnderWay(draft, event)) return;
      dropWork(draft);
      state.stoppedAt ??= now;
      const { epoch, step, peer, reason, skip = false } = event;
      if (state.leaving !== null && peer === null && !skip) return leaveNow(draft); // no fault: it stops computing
      if (state.isLinked) {
        actions.push({
          kind: "send",
          message: { type: "failed", epoch, step, peer, reason: toReason(reason), skip },
        });
      } else tell(draft, `Step ${step} can't be done and waits for the coordinator: ${reason}`);
      return;
    }
    case "copied":
    case "replayed":
    case "donorFailed":
      return handleDonor(draft, event);
    case "restored":
      if (state.phase !== "restoring") return;
      state.applied = { step: event.step, digest: event.digest };
      state.isBlank = event.isBlank ?? false;
      state.phase = "idle";
      return introduce(draft);
    case "leave":
      state.leaving = { finished: event.finished };
      if (state.phase !== "working" && state.phase !== "holding") leaveNow(draft);
      return;
  }
}

/** Is it the step that this member works on? What is said of another is out of date. */
function isUnderWay(
  { state }: Draft,
  { epoch, step }: { readonly epoch: number; readonly step: number },
): boolean {
  return state.phase === "working" && state.epoch?.epoch === epoch && step === state.applied.step + 1;
}

function link(draft: Draft): void {
  const { state, now } = draft;
  state.isLinked = true;
  state.saidConfig = false;
  state.lastHeard = now;
  // The coordinator takes who says hello to be in no step.
  if (state.phase === "working") dropWork(draft);
  state.epoch = null;
  introduce(draft);
}

/** What is held, and a step under way, outlive the coordinator; what others are to be copied from doesn't. */
function unlink(draft: Draft): void {
  const { state } = draft;
  if (!state.isLinked) return;
  state.isLinked = false;
  state.stoppedAt ??= draft.now;
  if (state.phase === "holding") draft.actions.push({ kind: "pause" });
  if (state.phase === "working" || state.phase === "holding") return;
  if (state.leaving !== null) return leaveNow(draft);
  dropWork(draft);
}

/**
 * Its state is not what its digest says: it must neither be copied from nor saved, nor read again from where it was
 * saved. What optimizers remember may have been wrong a step before the weights were.
 */
function throwAway(draft: Draft): void {
  const { state: { phase, applied } } = draft;
  if (phase !== "restoring") restore(draft, Math.max(applied.step - 1, 0));
}

/** Says what it has, or that it leaves, as soon as it has a state. */
function introduce(draft: Draft): void {
  const { state } = draft;
  if (state.phase === "restoring" || !state.isLinked) return;
  if (state.leaving !== null && state.phase !== "holding") return leaveNow(draft);
  hello(draft);
}

function handleMessage(draft: Draft, message: CoordinatorMessage): void {
  const { state, actions } = draft;
  if (message.type === "commit" || message.type === "abort" || message.type === "epoch") {
    state.isOnHold = false;
  }
  switch (message.type) {
    case "welcome":
      state.heartbeatMs = message.heartbeatMs;
      return;
    case "refused":
      return takeRefusal(draft, message);
    case "released":
      return end(draft, null);
    case "hold":
      state.isOnHold = true;
      state.stoppedAt ??= draft.now;
      if (state.phase === "holding" || state.phase === "replaying") actions.push({ kind: "pause" });
      return tell(draft, message.reason);
    case "warning":
      actions.push({ kind: "log", level: "warn", text: message.reason });
      return;
    case "commit":
      if (message.epoch >= state.seen.epoch) takeCommit(draft, message);
      return;
    case "abort":
      if (message.epoch < state.seen.epoch) return;
      // Who has done the last step doesn't begin it again.
      if (state.leaving === null) tell(draft, message.reason);
      state.stoppedAt ??= draft.now;
      dropWork(draft);
      if (message.isWrong) return throwAway(draft);
      return introduce(draft);
    case "epoch":
      return enterOrFollow(draft, message);
    case "heartbeat":
    case "status":
      return;
  }
}

/** Who was in a group fits its coordinator: one that finds otherwise is another's, and goes away again. */
function takeRefusal(
  draft: Draft,
  { reason, retry, mismatch = false }: MessageOf<CoordinatorMessage, "refused">,
): void {
  const { state, actions } = draft;
  if (!mismatch || state.seen.epoch === 0) return end(draft, { reason, retry });
  actions.push(
    { kind: "log", level: "warn", text: `A coordinator of another group answers: ${reason}` },
    { kind: "relink", reason: "that of another group is in its place" },
  );
  unlink(draft);
}

function takeCommit(draft: Draft, { epoch, step, digest }: MessageOf<CoordinatorMessage, "commit">): void {
  const { state, actions } = draft;
  if (state.phase === "copying" || state.phase === "replaying") {
    noteCommitted(draft, { step, digest });
    return state.phase === "replaying" ? advanceFollowing(draft) : undefined;
  }
  const { held } = state;
  if (held === null || held.epoch !== epoch || held.step !== step) return;
  if (held.digest !== digest) {
    actions.push({
      kind: "log",
      level: "warn",
      text: `Step ${step} was committed with another digest than here`,
    });
    dropWork(draft);
    return restore(draft);
  }
  state.held = null;
  state.applied = { step, digest };
  state.isProven ||= held.stateHash !== undefined;
  actions.push({ kind: "apply", step, digest });
  state.phase = "idle";
  if (state.leaving !== null) return leaveNow(draft);
  if (state.epoch === null) return;
  if (state.stoppedAt !== null) tell(draft, describeResumption(step, draft.now - state.stoppedAt));
  begin(draft, state.epoch);
}
