/**
 * The coordinator: who is in the group, in which epoch, and which step is committed. A pure state machine;
 * who runs it hands in events one at a time and carries out the actions in order.
 *
 * A step is applied by all or by none. The members of the epoch report `ready` with the digest that their
 * state will have; once all have, with one digest, the coordinator says `commit`. Until it has, any loss of a
 * member aborts the step: all are told so, each answers with a `hello`, and those who are here form the next
 * epoch. A member that has said `ready` waits for the coordinator's word, whatever it sees of its peers.
 *
 * Commits are not written to disk. That is safe because doing a step again gives the same bits:
 * 1. The state after step s is a function of the state after s - 1, of s and of the config alone. Samples and
 *    dropout are counter-based functions of (seed, step, sample); each virtual worker's gradient is a
 *    function of its samples and the state; they are added along a fixed tree over the virtual workers; the
 *    update is a function of the sum. Neither epoch nor member enters.
 * 2. Members with different bits (another adapter, a fault) are kept out by the probe in `hello`, and removed
 *    by the digests of `ready`, which chain over all steps before. Those name what was added; that it was added to the
 *    same is what the hashes of states in `ready` say.
 * 3. So if some member applied step s and then was lost, together with the coordinator that said so, the
 *    others may apply what they hold of s or do s again: by 1 they arrive at the state that the lost one had.
 *    The member that comes back finds its digest equal to theirs and goes on; if it is not, 2 was violated,
 *    and it copies their state. Hence a new coordinator needs of the old one only what fences the old one's
 *    epochs off, and asks the members for the rest.
 *
 * If all are lost who had the newest state, and it comes back later, from a disk say, while the others do its steps
 * again, the group goes on from there: by 1 it is the state at which they would arrive.
 *
 * Where pieces are rounded (`WireTypes.pieceType`), 1 does not hold: shares and what earlier rounding lost enter the
 * sum. Then a step that only lost members applied may be done again with other bits, and if they come back, the group
 * stops for a person to choose. Who comes back with more steps than the group has done again is followed all the same:
 * its state is the one that the group had, and what was done again is dropped.
 *
 * One group only. Epochs grow, are on disk before they are used, and a member heeds no word of an older epoch
 * than the newest it has seen. See `CoordinatorState.electorates` for what keeps a partition from training
 * twice.
 */
import { type MemberMessage, MISSED_HEARTBEATS } from "../control/messages.ts";
import { heirOf, tryForm } from "./gathering.ts";
import { greet } from "./greeting.ts";
import { fence, lose, release, settleFinish } from "./loss.ts";
import { watchStep } from "./slowStep.ts";
import { groupStatus } from "./status.ts";
import { takeFailure, takeReady, tryCommit } from "./step.ts";
import type {
  CoordinatorAction,
  CoordinatorEvent,
  CoordinatorSettings,
  CoordinatorState,
  Draft,
  SavedGroup,
} from "./types.ts";
import { log, memberOf, noteSaved, persist, send } from "./types.ts";

/** Heartbeats without a sign of life after which a process may not have been running. */
const SLEEP_HEARTBEATS = 2;

/** The coordinator as it starts. @param saved what the file holds; null: there is none */
export function createCoordinator(
  settings: CoordinatorSettings,
  saved: SavedGroup | null,
): CoordinatorState {
  // Where that is not known, any of them may keep the newest state.
  const keepers = saved === null
    ? {}
    : saved.keepers ?? Object.fromEntries(saved.members.map((id) => [id, saved.step]));
  return {
    settings,
    phase: "gathering",
    reason: null,
    identity: saved?.identity ?? null,
    config: null,
    epoch: saved?.epoch ?? 0,
    step: saved?.step ?? 0,
    digest: null,
    epochMembers: saved?.members ?? [],
    spares: [],
    lost: [],
    electorates: saved?.electorates ?? [],
    needsMajority: saved?.needsMajority ?? false,
    keepers,
    savedKeepers: keepers,
    since: null,
    lastTick: null,
    members: new Map(),
    processes: new Map(),
    ready: new Map(),
    begunAt: 0,
    stepMs: [],
    isSlowSaid: false,
    doubt: null,
    skip: null,
    unkept: null,
    failures: [],
    aside: new Map(),
    finishedAt: null,
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
  const state = { ...previous, members, ready: new Map(previous.ready) };
  const draft: Draft = { state, now, actions: [] };
  handle(draft, event);
  settleFinish(draft);
  if (state.phase === "gathering") tryForm(draft);
  return { state, actions: draft.actions };
}

function handle(draft: Draft, event: CoordinatorEvent): void {
  switch (event.kind) {
    case "message":
      return handleMessage(draft, event.link, event.message);
    case "closed": {
      const member = memberOf(draft, event.link);
      return member === undefined ? undefined : lose(draft, member, "its connection has ended");
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
      member.computed = message.computed;
      if (member.role === "following" || member.role === "warm") member.appliedStep = message.step;
      member.seenEpoch = message.epoch;
      noteSaved(draft, member.id, message.saved ?? 0);
      send(draft, member, { type: "heartbeat" });
      return tryCommit(draft);
    case "ready":
      return takeReady(draft, member, message);
    case "failed":
      return takeFailure(draft, member, message);
    case "caughtUp":
      if (member.role !== "following") return;
      member.role = state.phase === "training" ? "warm" : "idle";
      member.appliedStep = message.step;
      member.digest = message.digest;
      member.isProven = message.isProven;
      member.survives = true;
      return;
    case "leaving":
      return release(draft, member, message.finished);
  }
}

function handleTick(draft: Draft): void {
  const { state, now, actions } = draft;
  const { heartbeatMs } = state.settings;
  const wasAsleep = now - (state.lastTick ?? now) > SLEEP_HEARTBEATS * heartbeatMs;
  state.lastTick = now;
  if (state.keepers !== state.savedKeepers && state.identity !== null && state.epoch > 0) {
    persist(draft, state.identity);
  }
  if (state.phase === "training") warnIfUnkept(draft);
  for (const member of state.members.values()) {
    // What came while this process slept is still unread.
    if (wasAsleep) member.lastSeen = now;
    if (now - member.lastSeen <= MISSED_HEARTBEATS * heartbeatMs) continue;
    actions.push({ kind: "close", link: member.link });
    lose(draft, member, `it was silent for ${MISSED_HEARTBEATS * heartbeatMs / 1000} s`);
  }
  watchStep(draft);
}

/** Says once that nobody keeps the run any more: who did may only be away for a moment. */
function warnIfUnkept(draft: Draft): void {
  const { state, now } = draft;
  const heir = heirOf(draft);
  if (heir === null) {
    state.unkept = null;
    return;
  }
  state.unkept ??= { since: now, isTold: false };
  if (state.unkept.isTold || now - state.unkept.since < state.settings.waitMs) return;
  state.unkept = { ...state.unkept, isTold: true };
  const kept = Math.max(0, ...Object.values(state.keepers));
  const reason =
    `No node of this group keeps the run: if all are lost, so are the steps after ${kept}; start one that ` +
    `does (train --runs FOLDER); otherwise ${heir.id} saves the model at the run's end, in a folder of its own`;
  log(draft, "warn", reason);
  for (const member of state.members.values()) send(draft, member, { type: "warning", reason });
}
