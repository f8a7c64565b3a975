/**
 * The coordinator: who is in the group, in which epoch, and which step is committed. A pure state machine; who runs it hands
 * in events one at a time and carries out the actions in order.
 *
 * A step is applied by all or by none. The members of the epoch report `ready` with the digest that their state will have;
 * once all have, with one digest, the coordinator says `commit`. Until it has, any loss of a member aborts the step: all are
 * told so, each answers with a `hello`, and those who are here form the next epoch. A member that has said `ready` waits for
 * the coordinator's word, whatever it sees of its peers.
 *
 * Commits are not written to disk. That is safe because doing a step again gives the same bits:
 * 1. The state after step s is a function of the state after s - 1, of s and of the config alone. Samples and dropout are
 *    counter-based functions of (seed, step, sample); each virtual worker's gradient is a function of its samples and the
 *    state; they are added along a fixed tree over the virtual workers; the update is a function of the sum. Neither epoch nor
 *    member enters.
 * 2. Members with different bits (another adapter, a fault) are kept out by the probe in `hello`, and removed by the digests
 *    of `ready`, which chain over all steps before.
 * 3. So if some member applied step s and then was lost, together with the coordinator that said so, the others may apply what
 *    they hold of s or do s again: by 1 they arrive at the state that the lost one had. The member that comes back finds
 *    its digest equal to theirs and goes on; if it is not, 2 was violated, and it copies their state.
 * Hence a new coordinator needs of the old one only what fences the old one's epochs off, and asks the members for the rest.
 *
 * One group only. Epochs grow, are on disk before they are used, and a member heeds no word of an older epoch than the newest it
 * has seen. See `CoordinatorState.electorates` for what keeps a partition from training twice.
 */
import type {
  CoordinatorAction,
  CoordinatorEvent,
  CoordinatorSettings,
  CoordinatorState,
  Draft,
  MemberRecord,
  SavedGroup,
} from "./coordinatorTypes.ts";
import { log, MISSED_HEARTBEATS, send, toSaved, withRole } from "./coordinatorTypes.ts";
import { explainMismatch } from "./identity.ts";
import { formEpoch, isCurrent, majority, sendEpoch, settleHeld, stop, tryForm } from "./gathering.ts";
import { groupStatus } from "./groupStatus.ts";
import { MAX_MEMBERS, type MemberMessage, type MessageOf, toReason } from "./messages.ts";

/** Times that a step is lost through failures before the member that was blamed most is removed. */
const MAX_FAILURES = 3;

type Message<T extends MemberMessage["type"]> = MessageOf<MemberMessage, T>;

/** The coordinator as it starts. @param saved what the file holds; null: there is none */
export function createCoordinator(
  settings: CoordinatorSettings,
  saved: SavedGroup | null,
): CoordinatorState {
  return {
    settings,
    phase: "gathering",
    reason: null,
    identity: saved?.identity ?? null,
    epoch: saved?.epoch ?? 0,
    step: saved?.step ?? 0,
    digest: null,
    epochMembers: saved?.members ?? [],
    lost: [],
    electorates: saved?.electorates ?? [],
    hasFile: saved !== null,
    since: null,
    lastTick: null,
    members: new Map(),
    ready: new Map(),
    blame: new Map(),
    isFinished: false,
  };
}

/**
 * What an event makes of a coordinator, and what is to be done about it.
 *
 * @param now milliseconds of a clock that never goes back
 * @returns the next state; the one handed in is not changed
 */
export function advanceCoordinator(
  previous: CoordinatorState,
  event: CoordinatorEvent,
  now: number,
): { state: CoordinatorState; actions: CoordinatorAction[] } {
  const members = new Map([...previous.members].map(([id, member]) => [id, { ...member }]));
  const { ready, blame } = previous;
  const state = { ...previous, members, ready: new Map(ready), blame: new Map(blame) };
  const draft: Draft = { state, now, actions: [] };
  handle(draft, event);
  if (state.phase === "gathering") tryForm(draft);
  return { state, actions: draft.actions };
}

function handle(draft: Draft, event: CoordinatorEvent): void {
  const { state } = draft;
  switch (event.kind) {
    case "message":
      return handleMessage(draft, event.link, event.message);
    case "closed": {
      const member = memberOf(draft, event.link);
      // Who was silent when its connection ended may live elsewhere.
      const wasHeard = member !== undefined && silence(draft, member) < 2 * state.settings.heartbeatMs;
      if (member !== undefined) lose(draft, member, "its connection has ended", wasHeard);
      return;
    }
    case "tick":
      return handleTick(draft);
    case "fenced":
      return fence(draft, event.reason);
  }
}

function handleMessage(draft: Draft, link: number, message: MemberMessage): void {
  const { state, now } = draft;
  if (message.type === "status") return send(draft, { link }, groupStatus(state, now));
  if (message.type === "hello") return greet(draft, link, message);
  const member = memberOf(draft, link);
  if (member === undefined) return; // it was sent away
  member.lastSeen = now;
  switch (message.type) {
    case "heartbeat":
      member.tokensPerSecond = message.tokensPerSecond;
      member.exposedShare = message.exposedShare;
      if (member.role !== "active") member.appliedStep = Math.max(member.appliedStep, message.step);
      return send(draft, member, { type: "heartbeat" });
    case "ready":
      return takeReady(draft, member, message);
    case "failed":
      return takeFailure(draft, member, message);
    case "caughtUp":
      if (member.role !== "following") return;
      member.role = state.phase === "training" ? "warm" : "idle";
      member.appliedStep = message.step;
      member.digest = message.digest;
      member.wasIn = true;
      return;
    case "leaving":
      return release(draft, member, message.finished);
  }
}

/** A member says what it has: a newcomer, one that lost its connection, or one that was told to abort. */
function greet(draft: Draft, link: number, hello: Message<"hello">): void {
  const { state, now, actions } = draft;
  const refusal = refuse(draft, link, hello);
  if (refusal !== null) {
    log(draft, "warn", `${hello.memberId} is refused: ${refusal.reason}`);
    send(draft, { link }, { type: "refused", reason: toReason(refusal.reason), retry: refusal.retry });
    actions.push({ kind: "close", link });
    const refused = memberOf(draft, link);
    if (refused !== undefined) lose(draft, refused, "it was refused", true);
    return;
  }
  if (hello.group !== null && hello.group.epoch > state.epoch && !adopt(draft, hello.group)) return;
  const before = state.members.get(hello.memberId);
  if (before !== undefined && before.link !== link) {
    const isSameProcess = hello.group !== null;
    if (!isSameProcess) {
      const reason = `Another process has joined as ${hello.memberId}, expected one of that name`;
      send(draft, before, { type: "refused", reason, retry: false });
    }
    actions.push({ kind: "close", link: before.link });
  }
  const { run, version, configDigest, tokenizerHash, virtualWorkers, probe } = hello;
  state.identity ??= { run, version, configDigest, tokenizerHash, virtualWorkers, probe };
  state.since ??= now;
  const member: MemberRecord = {
    id: hello.memberId,
    link,
    url: hello.url,
    lastSeen: now,
    role: "idle",
    appliedStep: hello.appliedStep,
    digest: hello.digest,
    held: hello.held,
    wasIn: hello.group !== null,
    donor: null,
    tokensPerSecond: before?.tokensPerSecond ?? 0,
    exposedShare: before?.exposedShare ?? 0,
    lastSteps: 0,
    waitMs: 0,
  };
  state.members.set(member.id, member);
  if (before?.link !== link) {
    send(draft, member, { type: "welcome", heartbeatMs: state.settings.heartbeatMs });
    log(draft, "info", `${member.id} is here with step ${member.appliedStep}`);
  }
  if (state.digest !== null) settleHeld(draft, member);
  if (before?.role === "active") abort(draft, `${member.id} has given the step up`);
  else if (state.phase === "training") {
    member.role = "following";
    sendEpoch(draft, member);
  } else if (state.reason !== null && before?.link !== link) {
    send(draft, member, { type: "hold", reason: toReason(state.reason) });
  }
}

function refuse(
  { state }: Draft,
  link: number,
  hello: Message<"hello">,
): { reason: string; retry: boolean } | null {
  if (state.phase === "stopped") return { reason: `The group has stopped: ${state.reason}`, retry: false };
  const mismatch = state.identity === null ? null : explainMismatch(state.identity, hello);
  if (mismatch !== null) return { reason: mismatch, retry: false };
  if ([...state.members.values()].some((member) => member.link === link && member.id !== hello.memberId)) {
    return { reason: `A connection speaks for two members, expected one each`, retry: false };
  }
  if (!state.members.has(hello.memberId) && state.members.size >= MAX_MEMBERS) {
    return { reason: `The group is full with ${MAX_MEMBERS} members; try again later`, retry: true };
  }
  if (state.isFinished && hello.appliedStep < state.step && hello.held?.step !== state.step) {
    return { reason: `The run has finished after step ${state.step}; nothing is left to do`, retry: false };
  }
  return null;
}

/**
 * A member knows a newer epoch than this coordinator: the file was lost or is an old one, unless this coordinator
 * has formed a group itself. Then another one has formed one since, and this one is stale.
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
  state.hasFile = false;
  return true;
}

function takeReady(draft: Draft, member: MemberRecord, message: Message<"ready">): void {
  const { state } = draft;
  const { epoch, step, digest, workMs } = message;
  if (member.role !== "active" || epoch !== state.epoch || step !== state.step + 1) return; // of an aborted step
  state.ready.set(member.id, { digest, workMs });
  const active = withRole(draft, "active");
  if (state.phase !== "training" || state.ready.size < active.length) return;
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
  if (wrong.length === 0) return commit(draft, agreed);
  for (const other of wrong) {
    remove(draft, other, `${other.id} has another digest after step ${step} than the majority`);
  }
}

function commit(draft: Draft, digest: string): void {
  const { state } = draft;
  noteLast(draft);
  state.step++;
  state.digest = digest;
  state.ready.clear();
  state.blame.clear();
  const active = withRole(draft, "active");
  state.electorates = [active.map(({ id }) => id)];
  for (const member of active) Object.assign(member, { appliedStep: state.step, digest, held: null });
  for (const member of state.members.values()) {
    send(draft, member, { type: "commit", epoch: state.epoch, step: state.step, digest });
  }
  const warm = withRole(draft, "warm");
  const room = (state.identity?.virtualWorkers ?? 0) - active.length;
  if (warm.length > 0 && room > 0) formEpoch(draft, [...active, ...warm]);
}

/** Adds to the account of the member whose own gradients were last how long the second slowest waited for it. */
function noteLast({ state }: Draft): void {
  const [last, second] = [...state.ready].sort(([, a], [, b]) => b.workMs - a.workMs);
  const member = state.members.get(last[0]);
  if (member === undefined || second === undefined) return;
  member.lastSteps++;
  member.waitMs += last[1].workMs - second[1].workMs;
}

function takeFailure(draft: Draft, member: MemberRecord, message: Message<"failed">): void {
  const { state } = draft;
  const { epoch, step, peer, reason } = message;
  if (epoch !== state.epoch || step !== state.step + 1) return; // long dealt with
  const blamed = peer ?? member.id;
  state.blame.set(blamed, (state.blame.get(blamed) ?? 0) + 1);
  const text = `${member.id} has given up step ${step}${
    peer === null ? "" : ` because of ${peer}`
  }: ${reason}`;
  log(draft, "warn", text);
  if (state.phase !== "training" || member.role !== "active") return;
  const [[most, times]] = [...state.blame].sort(([, a], [, b]) => b - a);
  const culprit = state.members.get(most);
  if (times >= MAX_FAILURES && culprit !== undefined) {
    remove(draft, culprit, `${most} was blamed ${times} times for the loss of step ${step}`);
  } else abort(draft, text);
}

/** Ends the step under way: all who are in it give it up and say what they have. */
function abort(draft: Draft, reason: string): void {
  const { state, now } = draft;
  if (state.phase !== "training") return;
  state.phase = "gathering";
  state.since = state.members.size === 0 ? null : now;
  state.ready.clear();
  log(draft, "warn", `Step ${state.step + 1} is aborted: ${reason}`);
  const active = withRole(draft, "active");
  // With nobody left in the epoch, the others are what the group consists of.
  for (const member of active.length > 0 ? active : state.members.values()) {
    member.role = "aborting";
    const { epoch, step } = state;
    send(draft, member, { type: "abort", epoch, step: step + 1, reason: toReason(reason) });
  }
}

/** @param hasEnded it is known not to be in another coordinator's group */
function lose(draft: Draft, member: MemberRecord, reason: string, hasEnded: boolean): void {
  const { state } = draft;
  state.members.delete(member.id);
  state.ready.delete(member.id);
  state.lost = [...state.lost, member.id];
  if (hasEnded) strikeOff(draft, member);
  log(draft, "warn", `${member.id} is lost: ${reason}`);
  if (member.role === "active") abort(draft, `${member.id} is lost`);
  forgetIfEmpty(draft);
}

/** Sends a member away for what it did. A new process of that name may join. */
function remove(draft: Draft, member: MemberRecord, reason: string): void {
  send(draft, member, { type: "refused", reason: toReason(reason), retry: true });
  draft.actions.push({ kind: "close", link: member.link });
  lose(draft, member, reason, true);
}

function release(draft: Draft, member: MemberRecord, finished: boolean): void {
  const { state, actions } = draft;
  state.members.delete(member.id);
  strikeOff(draft, member);
  state.epochMembers = state.epochMembers.filter((id) => id !== member.id);
  state.isFinished ||= finished && isCurrent(draft, member);
  if (state.identity !== null && state.epoch > 0) {
    actions.push({ kind: "persist", group: toSaved(state, state.identity) });
  }
  send(draft, member, { type: "released" });
  log(draft, "info", `${member.id} leaves after step ${member.appliedStep}`);
  if (member.role === "active") abort(draft, `${member.id} leaves`);
  if (state.isFinished && state.members.size === 0) actions.push({ kind: "finished" });
  forgetIfEmpty(draft);
}

function strikeOff({ state }: Draft, { id }: MemberRecord): void {
  state.electorates = state.electorates
    .map((electorate) => electorate.filter((other) => other !== id))
    .filter((electorate) => electorate.length > 0);
}

/** With nobody here, waiting begins anew with the next hello; a group that never began has no identity yet. */
function forgetIfEmpty({ state }: Draft): void {
  if (state.members.size > 0) return;
  state.since = null;
  state.reason = null;
  state.isFinished = false;
  if (state.epoch === 0) state.identity = null;
}

function handleTick(draft: Draft): void {
  const { state, now, actions } = draft;
  const { heartbeatMs } = state.settings;
  const wasAsleep = state.lastTick !== null && now - state.lastTick > 2 * heartbeatMs;
  state.lastTick = now;
  for (const member of state.members.values()) {
    // What came while this process slept is still unread.
    if (wasAsleep) member.lastSeen = now;
    if (silence(draft, member) <= MISSED_HEARTBEATS * heartbeatMs) continue;
    actions.push({ kind: "close", link: member.link });
    lose(draft, member, `it was silent for ${MISSED_HEARTBEATS} heartbeats`, false);
  }
}

/** Another coordinator has taken over: the members find it once their connections here have ended. */
function fence(draft: Draft, reason: string): void {
  const { state, actions } = draft;
  state.phase = "stopped";
  state.reason = reason;
  for (const { link } of state.members.values()) actions.push({ kind: "close", link });
  state.members.clear();
  actions.push({ kind: "stop", reason });
}

function silence({ now }: Draft, { lastSeen }: MemberRecord): number {
  return now - lastSeen;
}

function memberOf({ state }: Draft, link: number): MemberRecord | undefined {
  return [...state.members.values()].find((member) => member.link === link);
}
