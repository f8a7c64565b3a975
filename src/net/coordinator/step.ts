import type { MemberMessage, MessageOf } from "../control/messages.ts";
import { accuse, countOwn, isAside, MAX_FAILURES } from "./blame.ts";
import { explainMinority, formEpoch, hold, majority, stop } from "./gathering.ts";
import { abort, remove } from "./loss.ts";
import { beginStep, endStep } from "./stepTime.ts";
import type { Draft, MemberRecord } from "./types.ts";
import { electorateOf, log, noteApplied, send, withRole } from "./types.ts";
import { noteLast } from "./waiting.ts";

export function takeReady(
  draft: Draft,
  member: MemberRecord,
  message: MessageOf<MemberMessage, "ready">,
): void {
  const { state } = draft;
  const { epoch, step, digest, stateHash, workMs, slowest } = message;
  const isCurrent = epoch === state.epoch && step === state.step + 1;
  if (member.role !== "active" || !isCurrent) return; // of an aborted step
  state.ready.set(member.id, { digest, stateHash, workMs, slowest });
  member.seenEpoch = epoch;
  tryCommit(draft);
}

/** Commits the step under way if all are ready, agree, and no other group can be formed. */
export function tryCommit(draft: Draft): void {
  const { state } = draft;
  const active = withRole(draft, "active");
  if (state.phase !== "training" || state.ready.size < active.length) return;
  const step = state.step + 1;
  const digests = [...state.ready.values()].map((ready) => ready.digest);
  const agreed = majority(digests);
  const who = (value: string) => active.filter(({ id }) => state.ready.get(id)?.digest === value);
  if (agreed === null) {
    const sides = [...new Set(digests)].map((value) => who(value).map(({ id }) => id).join(" and "));
    return stop(
      draft,
      `Members disagree on step ${step} and none has a majority: ${sides.join(" against ")}`,
    );
  }
  const wrong = active.filter(({ id }) => state.ready.get(id)?.digest !== agreed);
  if (wrong.length === 0) {
    if (!haveSameState(draft, active)) return;
    const reason = explainMinority(draft, ({ seenEpoch }) => seenEpoch === state.epoch);
    return reason === null ? commit(draft, agreed) : hold(draft, reason);
  }
  for (const other of wrong) {
    remove(draft, other, `${other.id} has another digest after step ${step} than the majority`);
  }
}

/**
 * The digests that agree are names: each member has added the same sums to what it had. Is that the same, too? Who has
 * something else copies the others' state, and the step, with that member's gradients in it, is done again. More than
 * half decide, but newcomers not against those that have done steps: theirs may be copies of what is wrong.
 */
function haveSameState(draft: Draft, active: readonly MemberRecord[]): boolean {
  const { state } = draft;
  const hashOf = ({ id }: MemberRecord) => state.ready.get(id)?.stateHash ?? "";
  const ofAll = majority(active.map(hashOf));
  const proven = active.filter(({ isProven }) => isProven);
  const ofProven = proven.length === 0 ? ofAll : majority(proven.map(hashOf));
  const agreed = ofAll === null || ofAll === ofProven ? ofProven : null;
  const others = active.filter((member) => hashOf(member) !== agreed);
  if (others.length === 0) return true;
  const names = others.map(({ id }) => id);
  if (agreed === null) {
    const whose = `The weights of ${names.join(", ")} after step ${state.step} differ`;
    stop(
      draft,
      `${whose}, by a fault of a memory or disk, and none has a majority; restart the right ones alone`,
    );
    return false;
  }
  for (const other of others) other.isWrong = true;
  const whose = names.length === 1 ? `${names[0]} has` : `${names.join(", ")} have`;
  abort(draft, `${whose} other weights after step ${state.step} than the majority, and will copy the state`);
  return false;
}

function commit(draft: Draft, digest: string): void {
  const { state } = draft;
  noteLast(state);
  endStep(draft);
  state.step++;
  state.digest = digest;
  const active = withRole(draft, "active");
  for (const member of active) {
    noteApplied(member, state.step, digest, state.ready.get(member.id)?.stateHash);
  }
  state.ready.clear();
  beginStep(draft);
  state.failures = [];
  state.electorates = [electorateOf(state)];
  state.needsMajority = false;
  state.reason = null;
  for (const member of state.members.values()) {
    send(draft, member, { type: "commit", epoch: state.epoch, step: state.step, digest });
  }
  settleDoubt(draft);
  const warm = withRole(draft, "warm");
  const room = (state.identity?.virtualWorkers ?? 0) - active.length;
  // A spare that stands by, or is lost, changes who counts: the members have to know.
  const here = [...active, ...warm].map(({ id }) => id).sort();
  const isChanged = here.join() !== electorateOf(state).join();
  const entering = warm.filter((member) => !isAside(draft, member));
  if (isChanged || (entering.length > 0 && room > 0)) formEpoch(draft, [...active, ...entering]);
}

export function takeFailure(
  draft: Draft,
  member: MemberRecord,
  message: MessageOf<MemberMessage, "failed">,
): void {
  const { state } = draft;
  const { epoch, step, peer, reason, skip = false } = message;
  if (epoch > state.epoch || step !== state.step + 1) return; // long dealt with
  const isUnderWay = epoch === state.epoch && state.phase === "training" && member.role === "active";
  if (skip) return isUnderWay ? takeNotFinite(draft, member, step, reason) : undefined;
  const text = `${member.id} has given up step ${step}${
    peer === null ? "" : ` because of ${peer}`
  }: ${reason}`;
  if (!isUnderWay) {
    if (peer === null) log(draft, "warn", text); // of a peer somebody has said it already
    return;
  }
  accuse(draft, { epoch, by: member.id, of: peer ?? member.id, reason });
  if (countOwn(draft, member) < MAX_FAILURES) return abort(draft, text);
  log(draft, "warn", text);
  remove(draft, member, `${member.id} has failed ${MAX_FAILURES} times in step ${step}: ${reason}`);
}

/**
 * A member has found that a step is not finite. Whoever does it should find the same, so another one is asked: the others
 * do the step. If one of them finds it, too, the next epoch leaves it out: all of its members do, and none computes.
 */
function takeNotFinite(draft: Draft, member: MemberRecord, step: number, reason: string): void {
  const { state } = draft;
  const isAlone = withRole(draft, "active").length === 1;
  const isFound = state.doubt?.step === step; // by another one, or nobody but it can be asked
  const text = `${member.id} gives it up: ${reason}`;
  if (isAlone || isFound) {
    state.doubt = null;
    state.skip = step;
    return abort(draft, text, "is left out");
  }
  state.doubt = { step, by: member.id };
  abort(draft, text, `is done by the others, to see whether they find the same`);
}

/** The others have done a step that a member found not finite. */
function settleDoubt(draft: Draft): void {
  const { state } = draft;
  const { doubt } = state;
  state.doubt = null;
  if (doubt === null || doubt.step !== state.step) return;
  const member = state.members.get(doubt.by);
  const text = `${doubt.by} alone found step ${doubt.step} not finite: its GPU or memory is at fault`;
  if (member === undefined || member.role === "active") return log(draft, "warn", text);
  remove(draft, member, text);
}
