/** How a member gets the state of a group that went on without it, and enters. */
import { type CoordinatorMessage, type MessageOf, toReason } from "../control/messages.ts";
import type { Applied } from "../replica.ts";
import { describeEpoch } from "./news.ts";
import type { Draft, MemberEvent, Peer } from "./types.ts";
import { begin, dropWork, finish, hello, isAtEnd, leaveNow, tell } from "./work.ts";

type EpochMessage = MessageOf<CoordinatorMessage, "epoch">;
type DonorEvent = Extract<MemberEvent, { kind: "copied" | "replayed" | "donorFailed" }>;

/**
 * A follower says that it has caught up when it lacks no more steps than this; who has copied, with the next commit at
 * the latest. So it enters within two steps after its copy, however much it lacks: the others wait for the rest.
 */
const CLOSE_BEHIND = 1;
/** A copy that takes more steps than this can't be verified when it has come. */
const KNOWN_DIGESTS = 1024;

/** A new epoch: takes part in it if it is listed, otherwise follows the donor that was named. */
export function enterOrFollow(draft: Draft, message: EpochMessage): void {
  const { state } = draft;
  const { settings: { memberId }, seen } = state;
  const { epoch, step, digest, members, spares } = message;
  const isListed = members.some(({ id }) => id === memberId);
  if (epoch < seen.epoch || (isListed && epoch === seen.epoch)) return;
  state.seen = { epoch, members: [...members.map(({ id }) => id), ...spares] };
  if (isListed || state.leaving !== null) dropWork(draft);
  if (state.phase === "restoring") return; // says hello, or leaves, once it has a state
  if (state.leaving !== null) return leaveNow(draft);
  noteCommitted(draft, { step: step - 1, digest });
  if (epoch > seen.epoch && step <= state.settings.totalSteps) tellOfEpoch(draft, message);
  state.actives = members.map(({ id }) => id);
  state.heir = message.heir ?? null;
  const donor = members.find(({ id }) => id === message.donor) ?? null;
  if (!isListed) {
    // What it said came while the group gathered, and got lost.
    if (!spares.includes(memberId)) state.saidCaughtUp = false;
    // The epoch's first commit may wait until its spares know of it: not for the next beat.
    if (spares.includes(memberId)) beat(draft);
    return follow(draft, donor ?? members[0]);
  }
  state.epoch = { epoch, members, skip: message.skip ? step : null };
  state.donor = donor;
  state.phase = "replaying";
  advanceFollowing(draft);
}

function beat({ state, actions }: Draft): void {
  const { seen: { epoch }, applied: { step }, saved } = state;
  const message = {
    type: "heartbeat",
    epoch,
    step,
    saved,
    tokensPerSecond: 0,
    exposedShare: 0,
    computed: 0,
  } as const;
  actions.push({ kind: "send", message });
}

function tellOfEpoch(draft: Draft, { step, members, spares }: EpochMessage): void {
  const { state: { settings, actives, begun, stoppedAt }, now } = draft;
  draft.state.stoppedAt = null;
  const text = describeEpoch({
    isAgain: begun === step && stoppedAt !== null,
    waitedMs: stoppedAt === null ? null : now - stoppedAt,
    step,
    ...{ self: settings.memberId, before: actives, members: members.map(({ id }) => id), spares },
    virtualWorkers: settings.identity.virtualWorkers,
  });
  if (text !== null) tell(draft, text);
}

/** Keeps what the coordinator has committed, to compare with what the donor sends. */
export function noteCommitted({ state }: Draft, committed: Applied): void {
  const { step, digest } = committed;
  const recent = [...state.digests].filter(([other]) => other > step - KNOWN_DIGESTS);
  state.committed = committed;
  state.digests = new Map([...recent, [step, digest]]);
}

function follow(draft: Draft, donor: Peer): void {
  const { state, actions } = draft;
  const isFollowing = state.phase === "copying" || (state.phase === "replaying" && state.epoch === null);
  state.epoch = null; // one in which it copied is over
  if (!isFollowing) dropWork(draft);
  else if (state.donor?.url !== donor.url) actions.push({ kind: "stopFollowing" });
  const isAtIt = isFollowing && state.donor?.url === donor.url;
  state.donor = donor;
  if (!isAtIt) {
    state.fetching = null;
    state.lacksSum = false;
  }
  // A state that was the group's lacks some steps; any other may be far away.
  const isNear = !state.isBlank && (state.survives || state.applied.step >= state.committed.step);
  if (state.phase !== "copying" && (isFollowing || isNear)) {
    state.phase = "replaying";
    advanceFollowing(draft);
  } else if (!isAtIt) copyAnew(draft);
}

/** Takes the next step towards the state that the group committed; once there, begins, or says so. */
export function advanceFollowing(draft: Draft): void {
  const { state, actions } = draft;
  const { applied, committed, epoch, donor } = state;
  const missing = committed.step - applied.step;
  if (missing < 0 && epoch === null) return; // the group does again what is done here: wait for it
  if (missing < 0) return fail(draft, null, `Its state is after step ${applied.step}, too far to enter`);
  if (missing === 0 && applied.digest !== committed.digest) {
    if (epoch !== null) return fail(draft, null, `Its state after step ${applied.step} is not the group's`);
    return copyAnew(draft);
  }
  if (missing === 0 && epoch !== null) return begin(draft, epoch);
  if (missing === 0 && isAtEnd(draft)) return finish(draft);
  state.isVerified ||= missing === 0;
  const isOver = committed.step >= state.settings.totalSteps; // nobody enters any more
  const isDue = missing <= CLOSE_BEHIND || committed.step > state.copiedAt;
  if (epoch === null && state.isVerified && isDue) sayCaughtUp(draft);
  if (state.lacksSum) return isOver || standsBy(draft) ? copyAnew(draft) : undefined;
  if (missing === 0 || state.fetching !== null) return;
  if (donor === null) return fail(draft, null, `It lacks ${missing} steps and no other member has them`);
  state.fetching = applied.step + 1;
  actions.push({ kind: "replay", donor, step: state.fetching });
}

/** What came of asking the donor. */
export function handleDonor(draft: Draft, event: DonorEvent): void {
  const { state } = draft;
  if (event.kind === "copied") {
    if (state.phase !== "copying") return;
    state.applied = { step: event.step, digest: event.digest };
    state.copiedAt = state.committed.step;
    state.isBlank = false;
    state.isVerified = event.digest === state.digests.get(event.step);
    state.phase = "replaying";
    advanceFollowing(draft);
  } else if (event.kind === "replayed") {
    if (state.phase === "replaying" && event.step === state.fetching) takeReplayed(draft, event);
  } else if (state.phase === "replaying" && state.fetching !== null && event.lacks) {
    lackSum(draft);
  } else if (state.phase === "copying" || (state.phase === "replaying" && state.fetching !== null)) {
    state.fetching = null;
    if (state.phase === "copying") {
      const again = state.epoch === null
        ? "it is begun again"
        : `step ${state.committed.step + 1} is given up`;
      const text = `The copy of the state from ${state.donor?.id} broke off (${event.reason}): ${again}`;
      draft.actions.push({ kind: "log", level: "warn", text });
    }
    if (state.epoch !== null) fail(draft, state.donor, event.reason);
    else if (state.phase === "copying") dropWork(draft);
    // Otherwise the coordinator will name another donor; until then each tick tries again.
  }
}

/** The donor has the next sum no longer, or never had it, as that of a step left out: its state is copied instead. */
function lackSum(draft: Draft): void {
  const { state } = draft;
  const { epoch, isVerified, copiedAt } = state;
  state.fetching = null;
  // Who has copied already would come too late again: it copies when it is in an epoch, whose others wait for it.
  if (epoch === null && isVerified && copiedAt < Infinity && !standsBy(draft)) state.lacksSum = true;
  else copyAnew(draft);
}

/** Is it one of the epoch's spares? It enters when a member is lost. */
function standsBy({ state: { seen, settings } }: Draft): boolean {
  return seen.members.includes(settings.memberId);
}

function takeReplayed(draft: Draft, { step, digest }: Extract<MemberEvent, { kind: "replayed" }>): void {
  const { state, actions } = draft;
  const { digests, donor, epoch } = state;
  const expected = digests.get(step);
  state.fetching = null;
  if (expected === undefined || expected === digest) {
    state.applied = { step, digest };
    state.isVerified ||= expected === digest;
    actions.push({ kind: "apply", step, digest });
    return advanceFollowing(draft);
  }
  actions.push({
    kind: "log",
    level: "warn",
    text: `Step ${step} came from ${donor?.id} with a wrong digest`,
  });
  if (epoch === null) copyAnew(draft);
  else fail(draft, donor, `The gradient of step ${step} has a wrong digest`);
}

function sayCaughtUp({ state, actions }: Draft): void {
  if (state.saidCaughtUp) return;
  const { applied: { step, digest }, isProven } = state;
  state.saidCaughtUp = true;
  state.survives = true;
  actions.push({ kind: "send", message: { type: "caughtUp", step, digest, isProven } });
}

/** Copies the donor's state; who has said that it has caught up takes that back first. */
function copyAnew(draft: Draft): void {
  const { state, actions } = draft;
  const { donor, saidCaughtUp } = state;
  state.survives = false;
  state.isProven = false;
  if (saidCaughtUp || donor === null) {
    dropWork(draft);
    return hello(draft);
  }
  state.phase = "copying";
  tell(draft, `Copies the state after step ${state.committed.step} from ${donor.id}`);
  actions.push({ kind: "copy", donor });
}

/** Gives up entering an epoch. The coordinator aborts it. */
function fail(draft: Draft, peer: Peer | null, reason: string): void {
  const { state, actions } = draft;
  const { epoch, committed } = state;
  dropWork(draft);
  if (epoch === null) return;
  actions.push({
    kind: "send",
    message: {
      type: "failed",
      epoch: epoch.epoch,
      step: committed.step + 1,
      peer: peer?.id ?? null,
      reason: toReason(reason),
    },
  });
}
