/** Between two epochs: who is here, may they form a group, on which state, and who does what. */
import { MISSED_HEARTBEATS, toReason } from "../control/messages.ts";
import { describeSharing } from "../sum/shares.ts";
import { admit, isDoubted, judge } from "./blame.ts";
import { beginStep } from "./stepTime.ts";
import type { Draft, MemberRecord } from "./types.ts";
import { byId, electorateOf, log, noteApplied, persist, send, withRole } from "./types.ts";

/** Epochs that a coordinator without its file skips: the lost one may have used them. */
const LOST_EPOCHS = 1024;
/** Steps that a member of the last epoch may lack without that anybody waits for a disk: a spare can lack any number. */
const FEW_STEPS = 3;

/** Forms the next epoch if that may be done now; tells the members why not otherwise. */
export function tryForm(draft: Draft): void {
  const { state } = draft;
  if (state.finishedAt !== null) return;
  const idle = withRole(draft, "idle");
  const isKept = state.digest === null || idle.some((member) => isCurrent(draft, member));
  // Who has a wrong state reads an older one from its disk, for which the others need not wait.
  const silent = withRole(draft, "aborting").filter(({ isWrong }) => !isKept || !isWrong);
  if (silent.length > 0) return sayWhoIsSilent(draft, silent);
  const followers = [...withRole(draft, "following"), ...withRole(draft, "warm")];
  // With the newest state lost, every other one counts: who followed tells what it has.
  if (!isKept && followers.length > 0) return askAgain(draft, followers, "The group's newest state is lost");
  if (idle.length === 0) return;
  const reason = whyWait(draft, idle);
  if (reason !== null) return hold(draft, reason);
  const able = idle.filter(({ isBlank }) => !isBlank);
  if (able.length === 0) {
    return hold(
      draft,
      `Waits for a member that has a state of the run: ${idle.map(({ id }) => id).join(", ")} ` +
        `can only copy one`,
    );
  }
  if (!agreeOnBase(draft, able)) return;
  const current = idle.filter((member) => isCurrent(draft, member));
  const warm = withRole(draft, "warm");
  if (warm.length > 0 && current.every((member) => isDoubted(draft, member))) {
    return askAgain(draft, warm, `The others may do step ${draft.state.step + 1}: who stands by is asked`);
  }
  judge(draft, [...current, ...warm]);
  formEpoch(draft, admit(draft, current, warm));
}

/** Members answer at once, but for those that read a state from their disk, which can hang. */
function sayWhoIsSilent(draft: Draft, silent: readonly MemberRecord[]): void {
  const { settings: { heartbeatMs }, since } = draft.state;
  if (draft.now - (since ?? draft.now) <= MISSED_HEARTBEATS * heartbeatMs) return;
  hold(
    draft,
    `Waits for ${silent.map(({ id }) => id).join(", ")} to say what they have: they read it from their disks`,
  );
}

/** Is a member's state that of the group? */
export function isCurrent({ state }: Draft, { appliedStep, digest, isBlank }: MemberRecord): boolean {
  return appliedStep === state.step && digest === state.digest && !isBlank;
}

/** Ends what members do, to hear what they have. */
export function askAgain(draft: Draft, members: readonly MemberRecord[], reason: string): void {
  const { epoch, step } = draft.state;
  for (const member of members) {
    const wrong = member.isWrong && member.role === "active" ? { isWrong: true } : {}; // others were told
    member.role = "aborting";
    send(draft, member, { type: "abort", epoch, step: step + 1, reason: toReason(reason), ...wrong });
  }
}

/** Says why nothing goes on: to everybody once, and to who has come since. */
export function hold(draft: Draft, reason: string): void {
  const { state } = draft;
  const isNew = state.reason !== reason;
  state.reason = reason;
  if (isNew) log(draft, "info", reason);
  for (const member of state.members.values()) {
    if (!isNew && member.told === reason) continue;
    member.told = reason;
    send(draft, member, { type: "hold", reason: toReason(reason) });
  }
}

/** Why no group may be formed yet; null: it may. */
function whyWait(draft: Draft, idle: readonly MemberRecord[]): string | null {
  const { state, now } = draft;
  const { settings, members } = state;
  const survives = idle.some((member) => member.survives || isCurrent(draft, member));
  const needed = survives ? 1 : settings.minMembers;
  if (idle.length < needed) return `Waits for members: ${idle.length} of at least ${needed} are here`;
  // Who was lost is worth waiting for only if the newest state was lost with it.
  const isKept = idle.some((member) => isCurrent(draft, member));
  const keepers = absentKeepers(draft, idle);
  const known = new Set([...state.epochMembers, ...keepers]);
  const awaited = [...known].filter((id) => !members.has(id) && !(isKept && state.lost.includes(id)));
  const isQuick = survives && keepers.length === 0;
  const wait = isQuick ? MISSED_HEARTBEATS * settings.heartbeatMs : settings.waitMs;
  // Too few are no news as long as others may be on their way.
  if (awaited.length > 0 && now < (state.since ?? now) + wait) {
    return `Waits up to ${wait / 1000} s for ${awaited.join(", ")} to come back`;
  }
  if (keepers.length > 0 && !settings.force) {
    const [id] = keepers;
    const here = newestStep(idle);
    return `Waits for ${id}, which keeps the state after step ${
      state.keepers[id]
    }: the newest here is that after ` +
      `step ${here}; start ${id}, or the coordinator with --force to go on from step ${here}`;
  }
  return explainMinority(draft, () => true);
}

/**
 * Who is away and has a newer state on its disk than all that are here have, newest first: it may be newer by days of
 * work. Who keeps nothing brings nothing when it is started again, so nobody waits for it longer than for anybody else;
 * nor does anybody where a member of the last epoch is here that lacks a few steps.
 */
function absentKeepers({ state }: Draft, idle: readonly MemberRecord[]): string[] {
  const survivors = idle.filter(({ survives, seenEpoch }) => survives && seenEpoch >= state.epoch);
  const enough = Math.max(newestStep(idle), newestStep(survivors) + (survivors.length > 0 ? FEW_STEPS : 0));
  const away = Object.entries(state.keepers).filter(([id, step]) => step > enough && !state.members.has(id));
  return away.sort(([, a], [, b]) => b - a).map(([id]) => id);
}

function newestStep(members: readonly MemberRecord[]): number {
  return Math.max(0, ...members.filter(({ isBlank }) => !isBlank).map(({ appliedStep }) => appliedStep));
}

/**
 * Why the members who count are too few to exclude that there is another group; null: they are enough.
 *
 * The file and its lock count as half a vote: with them, half of an electorate suffices, without them it
 * takes more than half. So of two coordinators, one of which has lost the file, only one can go on. To form
 * an epoch, whoever is here counts. For its first commit, only who knows of it does: another coordinator
 * would hear of it from them. Without the file, a process that was started anew never counts: its
 * predecessor may have known of a newer epoch.
 *
 * What can't be told apart is left to the user: the successor of a member that had gone over to a coordinator
 * without the file must not be sent to the one that has it. See `docs/elastic.md`.
 */
export function explainMinority({ state }: Draft, counts: (member: MemberRecord) => boolean): string | null {
  if (state.settings.force) return null;
  for (const electorate of state.electorates) {
    const here = (id: string) => {
      const member = state.members.get(id);
      return member === undefined || (state.needsMajority && !member.remembers) ? null : member;
    };
    const away = electorate.filter((id) => here(id) === null);
    const unaware = electorate.filter((id) => {
      const member = here(id);
      return member !== null && !counts(member);
    });
    const areEnough = (numLacking: number) => {
      const excess = electorate.length - 2 * numLacking;
      return excess > 0 || (excess === 0 && !state.needsMajority);
    };
    if (areEnough(away.length + unaware.length)) continue;
    if (areEnough(away.length)) {
      return `Waits for ${unaware.join(", ")} of the last group to hear of epoch ${state.epoch}`;
    }
    const whose = electorate.length === 1
      ? "the last group"
      : `the last group's ${electorate.length} members`;
    const needed = state.needsMajority ? "more than half of them, as they were," : "half of them";
    return `Waits: ${away.join(", ")} of ${whose} may be training elsewhere, expected ${needed} here; ` +
      `if they have ended, start the coordinator with --force`;
  }
  return null;
}

/**
 * Decides on which state the group goes on: the one that was committed last if a member has it. Where that is
 * not known (the coordinator is new) or lost, the most advanced state that is here. Sets the coordinator's
 * step and digest.
 *
 * A held gradient is committed if somebody has applied that step, or if all of the last epoch are here and
 * hold the same: what they would have been told. Otherwise the step is done again.
 *
 * @returns whether there is such a state
 */
function agreeOnBase(draft: Draft, idle: readonly MemberRecord[]): boolean {
  const { state } = draft;
  if (state.digest === null || !idle.some((member) => isCurrent(draft, member))) {
    const top = Math.max(...idle.map((member) => member.appliedStep));
    const atTop = idle.filter((member) => member.appliedStep === top);
    const digest = majority(atTop.map((member) => member.digest));
    if (digest === null) {
      stop(
        draft,
        `The states of ${
          atTop.map(({ id }) => id).join(", ")
        } after step ${top} differ and none has a majority; ` +
          `restart the right ones alone`,
      );
      return false;
    }
    if (top < state.step) {
      log(
        draft,
        "warn",
        `Step ${top} is the newest here, ${state.step} were done, and nobody who is awaited has kept more: ` +
          `those after it are done again`,
      );
    }
    state.step = top;
    state.digest = digest;
    commitHeldByAll(draft, idle);
  }
  for (const member of idle) settleHeld(draft, member);
  for (const member of idle) {
    if (member.appliedStep === state.step && !isCurrent(draft, member)) {
      log(
        draft,
        "warn",
        `${member.id} has another state after step ${state.step} than the group, and copies it`,
      );
    }
  }
  return true;
}

function commitHeldByAll(draft: Draft, idle: readonly MemberRecord[]): void {
  const { state } = draft;
  const holders = idle.filter((member) => {
    return isCurrent(draft, member) && member.held?.step === state.step + 1;
  });
  const held = new Set(holders.map((member) => `${member.held?.digest} of ${member.held?.stateHash}`));
  const isAll = state.epochMembers.length > 0 &&
    state.epochMembers.every((id) => holders.some((holder) => holder.id === id));
  const digest = holders[0]?.held?.digest;
  if (!isAll || held.size !== 1 || digest === undefined) return;
  state.step++;
  state.digest = digest;
}

/** Lets a member apply what it holds if that is the step which the group committed last. */
export function settleHeld(draft: Draft, member: MemberRecord): void {
  const { step, digest } = draft.state;
  const { held } = member;
  if (held === null || held.step !== step || held.digest !== digest || member.appliedStep !== step - 1) {
    return;
  }
  send(draft, member, { type: "commit", epoch: held.epoch, step, digest });
  noteApplied(member, step, digest, held.stateHash);
}

/** What more than half of the values are; null: there is no such. */
export function majority(values: readonly string[]): string | null {
  for (const value of new Set(values)) {
    if (2 * values.filter((other) => other === value).length > values.length) return value;
  }
  return null;
}

/** Begins the next epoch with as many of the candidates, best first, as there are virtual workers. */
export function formEpoch(draft: Draft, candidates: readonly MemberRecord[]): void {
  const { state } = draft;
  const { identity, digest } = state;
  if (identity === null || digest === null) {
    throw new Error("An epoch needs members that said what they have");
  }
  const chosen = candidates.slice(0, identity.virtualWorkers).sort(byId);
  const ids = chosen.map(({ id }) => id);
  state.epoch += state.needsMajority ? LOST_EPOCHS : 1;
  state.phase = "training";
  state.reason = null;
  state.epochMembers = ids;
  state.lost = [];
  state.ready.clear();
  beginStep(draft);
  for (const member of state.members.values()) {
    if (ids.includes(member.id)) {
      Object.assign(member, { role: "active", survives: true, lastSteps: 0, waitMs: 0, linkMs: 0 });
    } else if (member.role !== "warm") member.role = "following";
  }
  state.spares = withRole(draft, "warm").map(({ id }) => id);
  const electorate = electorateOf(state);
  const older = state.settings.force ? [] : state.electorates;
  state.electorates = [...older.filter((other) => other.join() !== electorate.join()), electorate];
  persist(draft, identity);
  const nodes = ids.length === 1 ? "1 node" : `${ids.length} nodes`;
  const begins = `Epoch ${state.epoch} begins with step ${state.step + 1} and ${nodes}: ${ids.join(", ")}`;
  log(draft, "info", begins + describeSpares(state.spares, identity.virtualWorkers, ids.length));
  for (const member of [...state.members.values()].sort(byId)) sendEpoch(draft, member);
}

function describeSpares(spares: readonly string[], virtualWorkers: number, numActive: number): string {
  if (spares.length === 0) return "";
  const text = `; ${spares.join(", ")} ${spares.length === 1 ? "stands" : "stand"} by`;
  return numActive < virtualWorkers
    ? text
    : `${text}: ${describeSharing(virtualWorkers, numActive + spares.length)}`;
}

/** Tells a member the epoch, and whom to follow if it is not in it. */
export function sendEpoch(draft: Draft, member: MemberRecord): void {
  const { epoch, step, digest, spares, skip: skipped } = draft.state;
  const skip = skipped === step + 1;
  if (digest === null) throw new Error("An epoch begins on a known state");
  member.donor = isCurrent(draft, member) && member.role === "active" ? null : chooseDonor(draft, member);
  const members = carriers(draft).map(({ id, url }) => ({ id, url }));
  const { donor } = member;
  const head = { type: "epoch", epoch, step: step + 1, digest } as const;
  const heir = heirOf(draft);
  const ending = heir === null ? {} : { heir: heir.id };
  send(draft, member, { ...head, members, spares: [...spares], donor, skip, ...ending });
}

/** Who is to keep the run's last state, as none of those who do its steps or stand by keeps the run; null: nobody has to. */
export function heirOf(draft: Draft): MemberRecord | null {
  const able = [...carriers(draft), ...withRole(draft, "warm")];
  if (able.some(({ keeps }) => keeps === "here")) return null;
  return carriers(draft).find(({ keeps }) => keeps === "elsewhere") ?? null;
}

/** Who does the epoch's steps or, at the run's end, has the last one's state. */
function carriers(draft: Draft): MemberRecord[] {
  const { finishedAt, members } = draft.state;
  if (finishedAt === null) return withRole(draft, "active");
  return [...members.values()].filter((member) => isCurrent(draft, member)).sort(byId);
}

/**
 * The donor it has, as long as that is in the epoch; otherwise another one than failed, with the fewest followers of those
 * that it gets on with, if there is one.
 */
function chooseDonor(draft: Draft, member: MemberRecord): string | null {
  const others = [...draft.state.members.values()].filter((other) => other !== member).sort(byId);
  const able = carriers(draft).filter((other) => other !== member && isCurrent(draft, other));
  const failed = draft.state.aside.get(member.id)?.others ?? [];
  const reachable = able.filter(({ id }) => !failed.includes(id));
  const donors = reachable.length === 0 ? able : reachable;
  if (donors.some(({ id }) => id === member.donor)) return member.donor;
  const load = (id: string) => others.filter(({ donor }) => donor === id).length;
  const untried = donors.filter(({ id }) => id !== member.failedDonor);
  const ids = (untried.length > 0 ? untried : donors).map(({ id }) => id);
  return ids.length === 0 ? null : ids.reduce((best, id) => (load(id) < load(best) ? id : best));
}

/** Nothing goes on until a person has looked. */
export function stop(draft: Draft, reason: string): void {
  const { state, actions } = draft;
  state.phase = "stopped";
  state.reason = reason;
  for (const member of state.members.values()) {
    send(draft, member, { type: "refused", reason: toReason(reason), retry: false });
    actions.push({ kind: "close", link: member.link });
  }
  state.members.clear();
  actions.push({ kind: "stop", reason });
}
