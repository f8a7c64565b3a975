import { MAX_MEMBERS, type MemberMessage, type MessageOf, toReason } from "../control/messages.ts";
import { forgive } from "./blame.ts";
import { askAgain, isCurrent, sendEpoch, settleHeld } from "./gathering.ts";
import { explainMismatch } from "./identity.ts";
import { abort, fence, lose } from "./loss.ts";
import type { Draft, MemberRecord } from "./types.ts";
import { log, memberOf, noteSaved, persist, send, withRole } from "./types.ts";

/** Names whose processes are known, and how many of each. */
const MAX_NAMES = 1024;
const MAX_PROCESSES = 16;

type Hello = MessageOf<MemberMessage, "hello">;

/** A member says what it has: a newcomer, one that lost its connection, or one that was told to abort. */
export function greet(draft: Draft, link: number, hello: Hello): void {
  const { state, now, actions } = draft;
  const refusal = refuse(draft, link, hello);
  if (refusal !== null) {
    log(draft, "warn", `${hello.memberId} is refused: ${refusal.reason}`);
    send(draft, { link }, { type: "refused", ...refusal, reason: toReason(refusal.reason) });
    actions.push({ kind: "close", link });
    const refused = memberOf(draft, link);
    if (refused !== undefined) lose(draft, refused, "it was refused");
    return;
  }
  const newer = hello.group !== null && hello.group.epoch > state.epoch ? hello.group : null;
  if (newer !== null && !adopt(draft, newer)) return;
  const before = state.members.get(hello.memberId);
  if (before !== undefined && before.link > link) {
    actions.push({ kind: "close", link }); // of a process that has ended, held up on its way
    return;
  }
  const isNew = notes(draft, hello);
  if (before !== undefined && before.link !== link) {
    if (isNew) {
      send(draft, before, { type: "refused", reason: toReason(explainReplaced(hello)), retry: false });
    }
    actions.push({ kind: "close", link: before.link });
    forgive(draft, before);
  }
  const { run, version, configDigest, tokenizerHash, virtualWorkers, probe } = hello;
  state.identity ??= { run, version, configDigest, tokenizerHash, virtualWorkers, probe };
  state.config ??= hello.config;
  // Who has told may be gone when this coordinator is started again.
  if (newer !== null) persist(draft, state.identity);
  state.since ??= now;
  const member: MemberRecord = {
    id: hello.memberId,
    link,
    url: hello.url,
    lastSeen: now,
    role: "idle",
    appliedStep: hello.appliedStep,
    digest: hello.digest,
    isBlank: hello.isBlank,
    keeps: hello.keeps,
    isWrong: false,
    isProven: hello.isProven,
    held: hello.held,
    seenEpoch: hello.group?.epoch ?? 0,
    remembers: hello.group !== null,
    survives: hello.survives,
    donor: null,
    // Who follows says hello only where that has failed.
    failedDonor: before?.link === link && before.role === "following" ? before.donor : null,
    isDone: false,
    tokensPerSecond: before?.tokensPerSecond ?? 0,
    exposedShare: before?.exposedShare ?? 0,
    computed: 0,
    lastSteps: 0,
    waitMs: 0,
    linkMs: 0,
    told: before?.link === link ? before.told : null,
  };
  state.members.set(member.id, member);
  noteSaved(draft, member.id, hello.saved ?? 0);
  if (before?.link !== link) {
    send(draft, member, { type: "welcome", heartbeatMs: state.settings.heartbeatMs });
    log(draft, "info", `${member.id} is here with step ${member.appliedStep}`);
  }
  if (state.digest !== null) settleHeld(draft, member);
  if (state.finishedAt !== null) return greetAtEnd(draft, member);
  if (state.digest !== null && member.appliedStep > state.step && !member.isBlank) {
    return goOnFrom(draft, member);
  }
  if (before?.role === "active") abort(draft, `${member.id} has given the step up`);
  else if (state.phase === "training") {
    member.role = "following";
    sendEpoch(draft, member);
  }
}

/** The newest state was lost with all who had it, and has come back: the group gathers anew, on that. */
function goOnFrom(draft: Draft, { id, appliedStep, digest }: MemberRecord): void {
  const { state } = draft;
  const reason = `${id} has the state after step ${appliedStep}, the group's is older`;
  const followers = [...withRole(draft, "following"), ...withRole(draft, "warm")];
  abort(draft, reason, "is given up for that");
  askAgain(draft, followers, reason);
  state.step = appliedStep;
  state.digest = digest;
}

/** The run is over: who has its last state counts as done, anybody else may copy it as long as somebody is here. */
function greetAtEnd(draft: Draft, member: MemberRecord): void {
  if (isCurrent(draft, member)) {
    member.isDone = true;
    return;
  }
  member.role = "following";
  member.held = null;
  member.appliedStep = Math.min(member.appliedStep, draft.state.step - 1); // another state after the last step is none
  sendEpoch(draft, member);
}

/** Keeps which process has the name now. @returns whether it is another one than before */
function notes({ state }: Draft, { memberId, process }: Hello): boolean {
  const known = state.processes.get(memberId) ?? [];
  if (known.at(-1) === process) return false;
  const others = [...state.processes].filter(([id]) => id !== memberId).slice(1 - MAX_NAMES);
  state.processes = new Map([...others, [memberId, [...known, process].slice(-MAX_PROCESSES)]]);
  return known.length > 0;
}

function explainReplaced({ memberId }: Hello): string {
  return `A later process has joined as ${memberId} and takes the place of this one: don't start this one again, or ` +
    `give it a name of its own; if its run's folder is a copy of another node's, delete the file "member" in one of them`;
}

function refuse(
  draft: Draft,
  link: number,
  hello: Hello,
): { reason: string; retry: boolean; mismatch?: boolean } | null {
  const { state } = draft;
  if (state.phase === "stopped") return { reason: `The group has stopped: ${state.reason}`, retry: false };
  const isReplaced = (state.processes.get(hello.memberId) ?? []).slice(0, -1).includes(hello.process);
  if (isReplaced) return { reason: explainReplaced(hello), retry: false };
  const mismatch = state.identity === null
    ? null
    : explainMismatch({ ...state.identity, config: state.config }, hello);
  if (mismatch !== null) return { reason: mismatch, retry: false, mismatch: true };
  if ([...state.members.values()].some((member) => member.link === link && member.id !== hello.memberId)) {
    return { reason: `A connection speaks for two members, expected one each`, retry: false };
  }
  if (!state.members.has(hello.memberId) && state.members.size >= MAX_MEMBERS) {
    return { reason: `The group is full with ${MAX_MEMBERS} members; try again later`, retry: true };
  }
  const others = [...state.members.values()].filter(({ id }) => id !== hello.memberId);
  const isLate = hello.appliedStep < state.step && hello.held?.step !== state.step;
  if (
    state.finishedAt !== null && (isLate || hello.isBlank) && !others.some((other) => isCurrent(draft, other))
  ) {
    return { reason: `The run has finished after step ${state.step}; nothing is left to do`, retry: false };
  }
  return null;
}

/**
 * A member knows a newer epoch than this coordinator: the file was lost or is an old one, unless this
 * coordinator has formed a group itself. Then another one has formed one since, and this one is stale.
 *
 * @returns whether to go on
 */
function adopt(
  draft: Draft,
  group: { readonly epoch: number; readonly members: readonly string[] },
): boolean {
  const { state } = draft;
  if (state.digest !== null) {
    fence(
      draft,
      `A member knows epoch ${group.epoch}, the newest here is ${state.epoch}: another one coordinates`,
    );
    return false;
  }
  log(
    draft,
    "warn",
    `A member knows epoch ${group.epoch}, the newest on file is ${state.epoch}: it was lost`,
  );
  state.epoch = group.epoch;
  state.epochMembers = group.members;
  state.electorates = [group.members];
  state.needsMajority = true;
  return true;
}
