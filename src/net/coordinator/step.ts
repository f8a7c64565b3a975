import type { MemberMessage, MessageOf } from "../messages.ts";
import { accuse, countOwn, isAside, MAX_FAILURES } from "./blame.ts";
import { explainMinority, formEpoch, hold, majority, stop } from "./gathering.ts";
import { abort, remove } from "./loss.ts";
import { beginStep, endStep } from "./stepTime.ts";
import type { Draft, MemberRecord } from "./types.ts";
import { noteLast } from "./waiting.ts";
import { electorateOf, log, send, withRole } from "./types.ts";

export function takeReady(
  draft: Draft,
  member: MemberRecord,
  message: MessageOf<MemberMessage, "ready">,
): void {
  const { state } = draft;
  const { epoch, step, digest, workMs, slowest } = message;
  const isCurrent = epoch === state.epoch && step === state.step + 1;
  if (member.role !== "active" || !isCurrent) return; // of an aborted step
  state.ready.set(member.id, { digest, workMs, slowest });
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
    const reason = explainMinority(draft, ({ seenEpoch }) => seenEpoch === state.epoch);
    return reason === null ? commit(draft, agreed) : hold(draft, reason);
  }
  for (const other of wrong) {
    remove(draft, other, `${other.id} has another digest after step ${step} than the majority`);
  }
}

function commit(draft: Draft, digest: string): void {
  const { state } = draft;
  noteLast(state);
  endStep(draft);
  state.step++;
  state.digest = digest;
  state.ready.clear();
  beginStep(draft);
  state.failures = [];
  const active = withRole(draft, "active");
  state.electorates = [electorateOf(state)];
  state.needsMajority = false;
  state.reason = null;
  for (const member of active) Object.assign(member, { appliedStep: state.step, digest, held: null });
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
