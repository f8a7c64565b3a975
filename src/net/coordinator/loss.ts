/** How members go: lost, sent away, released; and what that does to the step under way. */
import { toReason } from "../control/messages.ts";
import { forgive } from "./blame.ts";
import { askAgain, isCurrent } from "./gathering.ts";
import type { Draft, MemberRecord } from "./types.ts";
import { log, noteSaved, persist, send, withRole } from "./types.ts";

/** So long who has the run's last state waits for those who lack it: a copy of a large one takes minutes. */
const LATE_MS = 600_000;
const AGAIN = "is begun again";

/** Ends the step under way: all who are in it give it up and say what they have. @param what becomes of the step */
export function abort(draft: Draft, reason: string, what = AGAIN): void {
  const { phase, step } = draft.state;
  if (phase !== "training") return log(draft, "warn", reason);
  const text = `${reason}; step ${step + 1} ${what}`;
  log(draft, "warn", text);
  endEpoch(draft, text);
}

function endEpoch(draft: Draft, reason: string): void {
  const { state, now } = draft;
  if (state.phase !== "training") return;
  state.phase = "gathering";
  state.since = state.members.size === 0 ? null : now;
  askAgain(draft, withRole(draft, "active"), reason);
}

/**
 * A member is gone. It stays in the electorates: however its connection ended, it may have found another
 * coordinator; only who has said that it leaves has not.
 */
export function lose(draft: Draft, member: MemberRecord, reason: string): void {
  const { state } = draft;
  state.members.delete(member.id);
  forgive(draft, member);
  state.lost = [...state.lost, member.id];
  const text = `${member.id} is lost: ${reason}`;
  if (member.role === "active") abort(draft, text);
  else log(draft, "warn", text);
  forgetIfEmpty(draft);
}

/** Sends a member away for what it did. A new process of that name may join. */
export function remove(draft: Draft, member: MemberRecord, reason: string): void {
  send(draft, member, { type: "refused", reason: toReason(reason), retry: true });
  draft.actions.push({ kind: "close", link: member.link });
  lose(draft, member, reason);
}

/** A member has said that it leaves. Who has the run's last state stays for those who lack it, see `settleFinish`. */
export function release(draft: Draft, member: MemberRecord, finished: boolean): void {
  const { state, now } = draft;
  const wasActive = member.role === "active";
  if (finished && isCurrent(draft, member)) {
    state.finishedAt ??= now;
    Object.assign(member, { isDone: true, role: "idle" });
  } else letGo(draft, member, `${member.id} leaves after step ${member.appliedStep}`);
  if (wasActive) {
    // After the run's last step there is none to begin again.
    const isAgain = state.finishedAt === null && state.phase === "training";
    if (isAgain) log(draft, "info", `Step ${state.step + 1} ${AGAIN} without ${member.id}`);
    endEpoch(draft, `${member.id} leaves${isAgain ? `; step ${state.step + 1} ${AGAIN}` : ""}`);
  }
  if (state.finishedAt === null) forgetIfEmpty(draft);
}

/**
 * Once the run has finished, who has its last state is released when nobody is left who lacks it: a newcomer may still
 * copy from it, and the next sums come from it.
 */
export function settleFinish(draft: Draft): void {
  const { state, now, actions } = draft;
  if (state.finishedAt === null) return;
  const lacksLast = ({ appliedStep, held }: MemberRecord) =>
    appliedStep < state.step && held?.step !== state.step;
  const members = [...state.members.values()];
  const late = members.filter(lacksLast);
  const isServed = late.length < members.length && now - state.finishedAt < LATE_MS;
  if (late.length > 0 && isServed) return;
  for (const member of members) {
    const { id, appliedStep } = member;
    if (member.isDone) letGo(draft, member, `${id} leaves after step ${appliedStep}`);
    else if (lacksLast(member)) {
      letGo(draft, member, `${id} has nothing left to do: the run has finished after step ${state.step}`);
    }
  }
  if (state.members.size > 0) return;
  actions.push({ kind: "finished" });
  forgetIfEmpty(draft);
}

/** Tells a member that its part is over; it counts no longer. */
function letGo(draft: Draft, member: MemberRecord, reason: string): void {
  const { state } = draft;
  state.members.delete(member.id);
  strikeOff(draft, member);
  const { keeps, isBlank, isWrong } = member;
  if (keeps === "here" && !isBlank && !isWrong) noteSaved(draft, member.id, member.appliedStep); // it saves as it leaves
  state.epochMembers = state.epochMembers.filter((id) => id !== member.id);
  state.spares = state.spares.filter((id) => id !== member.id);
  if (state.identity !== null && state.epoch > 0) persist(draft, state.identity);
  send(draft, member, { type: "released" });
  log(draft, "info", reason);
}

/** Another coordinator has taken over: the members find it once their connections here have ended. */
export function fence(draft: Draft, reason: string): void {
  const { state, actions } = draft;
  state.phase = "stopped";
  state.reason = reason;
  for (const { link } of state.members.values()) actions.push({ kind: "close", link });
  state.members.clear();
  actions.push({ kind: "stop", reason });
}

function strikeOff({ state }: Draft, { id }: MemberRecord): void {
  state.electorates = state.electorates
    .map((electorate) => electorate.filter((other) => other !== id))
    .filter((electorate) => electorate.length > 0);
}

/**
 * With nobody here, waiting begins anew with the next hello; a group that never began has no identity yet.
 */
function forgetIfEmpty({ state }: Draft): void {
  if (state.members.size > 0) return;
  state.since = null;
  state.reason = null;
  state.finishedAt = null;
  if (state.epoch === 0) state.identity = state.config = null;
}
