/** What a member does itself: a step of its epoch, saying what it has, leaving. */
import { PROTOCOL } from "../control/messages.ts";
import { shareOut } from "../sum/shares.ts";
import type { Draft, Epoch } from "./types.ts";

/** Begins the step after the state that it has, if the run has one. */
export function begin(draft: Draft, epoch: Epoch): void {
  const { state, actions } = draft;
  const { identity, memberId } = state.settings;
  if (isAtEnd(draft)) return finish(draft);
  const { members } = epoch;
  const own = members.findIndex(({ id }) => id === memberId);
  const share = shareOut(identity.virtualWorkers, members.length)[own];
  state.phase = "working";
  state.survives = true;
  const step = state.applied.step + 1;
  state.begun = step;
  state.stoppedAt = null;
  const skip = step === epoch.skip;
  actions.push({ kind: "begin", work: { epoch: epoch.epoch, step, members, share, skip } });
}

/** Ends whatever is under way; what is held, too. A state of which only a part was copied is replaced. */
export function dropWork(draft: Draft): void {
  const { state, actions } = draft;
  const { phase } = state;
  state.epoch = null;
  state.held = null;
  if (phase === "restoring") return;
  state.phase = "idle";
  if (phase === "working" || phase === "holding") actions.push({ kind: "cancel" });
  if (phase === "copying" || phase === "replaying") {
    actions.push({ kind: "stopFollowing" });
    state.fetching = null;
    state.lacksSum = false;
    state.donor = null;
    state.copiedAt = Infinity;
    state.saidCaughtUp = false;
    state.isVerified = false;
  }
  if (phase === "copying") restore(draft);
}

/** Goes back to what this member has on its own disk. @param wrongFrom see `MemberAction` */
export function restore({ state, actions }: Draft, wrongFrom?: number): void {
  state.phase = "restoring";
  state.survives = false;
  state.isProven = false;
  actions.push({ kind: "restore", ...(wrongFrom === undefined ? {} : { wrongFrom }) });
}

/** Says what this member has. */
export function hello({ state, actions }: Draft): void {
  const {
    settings: { identity, config, memberId, process, url, keeps },
    seen,
    survives,
    isProven,
    applied,
    isBlank,
    saved,
    held,
    saidConfig,
  } = state;
  state.saidConfig = true;
  actions.push({
    kind: "send",
    message: {
      type: "hello",
      protocol: PROTOCOL,
      ...identity,
      memberId,
      process,
      url,
      group: seen.epoch === 0 ? null : seen,
      survives,
      isProven,
      appliedStep: applied.step,
      digest: applied.digest,
      isBlank,
      keeps,
      saved,
      held,
      config: saidConfig ? null : [...config],
    },
  });
}

/** Tells people of the group. */
export function tell({ actions }: Draft, text: string): void {
  actions.push({ kind: "log", level: "news", text });
}

/** Is the run's last step applied? */
export function isAtEnd({ state }: Draft): boolean {
  return state.applied.step >= state.settings.totalSteps;
}

/** Leaves, because nothing is left to do. */
export function finish(draft: Draft): void {
  dropWork(draft);
  draft.state.leaving = { finished: true };
  leaveNow(draft);
}

/** Leaves: with the coordinator's consent if it is there. */
export function leaveNow(draft: Draft): void {
  const { state, actions } = draft;
  const { leaving, isLinked } = state;
  if (leaving === null) return;
  if (!isLinked) return end(draft, null);
  state.epoch = null;
  actions.push({ kind: "send", message: { type: "leaving", finished: leaving.finished } });
}

/** The member's part is over. */
export function end({ state, actions }: Draft, refusal: { reason: string; retry: boolean } | null): void {
  state.phase = "ended";
  actions.push({ kind: "cancel" }, { kind: "stopFollowing" }, { kind: "end", refusal });
}
