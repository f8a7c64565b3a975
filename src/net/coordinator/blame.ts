/**
 * Who is to blame where members fail each other. A failure of two members alone doesn't show whose fault it is: one may
 * not dial, the other not answer, or the way between them be broken. So what counts is the pair: who is in pairs with
 * the most others, and then in the most failures, is at fault. Where no one is in more, one of a pair is kept out: if the
 * fault is the other's, that one fails the next, which shows it, and the first is back in. Of an epoch only the failure
 * that ended it counts: what others find after that may come of it.
 *
 * Whoever is at fault stands aside: it stays linked and follows, and may enter again after a time that doubles.
 */
import { toReason } from "../control/messages.ts";
import {
  byId,
  type CoordinatorState,
  type Draft,
  type Failure,
  log,
  type MemberRecord,
  send,
} from "./types.ts";

/** Times that a step is lost through failures before somebody has to go. */
export const MAX_FAILURES = 3;
/** For the first time that one stands aside, and at most. */
const ASIDE_MS = 120_000;
const MAX_ASIDE_MS = 3_600_000;
/** Epochs whose failures are kept. */
const KEPT_EPOCHS = 16;
const MAX_EXAMPLES = 2;
const MAX_WHY = 100;

/** Keeps what a member says of another, or of itself, as it ends the epoch. */
export function accuse({ state }: Draft, failure: Failure): void {
  if (state.members.has(failure.of)) state.failures = [...state.failures, failure].slice(-KEPT_EPOCHS);
}

/** Forgets what was said of a member, and what it has said: its connection, or its process, was lost, and that may explain it. */
export function forgive({ state }: Draft, { id }: MemberRecord): void {
  state.failures = state.failures.filter(({ by, of }) => by !== id && of !== id);
}

/** How often a member was lost to a step through a fault that it finds its own. */
export function countOwn({ state }: Draft, { id }: MemberRecord): number {
  return state.failures.filter(({ by, of }) => by === id && of === id).length;
}

/** Does a member have to stay out of epochs for now? */
export function isAside({ state, now }: Draft, member: MemberRecord): boolean {
  return leftAside(state, member, now) !== null;
}

/** Has a member found alone that the step to be done is not finite? Then the others do it, to see what they find. */
export function isDoubted({ state }: Draft, { id }: MemberRecord): boolean {
  return state.doubt?.by === id && state.doubt.step === state.step + 1;
}

/** Those of an epoch's candidates that may be in it: all, if there is nobody else. */
export function admit(
  draft: Draft,
  current: readonly MemberRecord[],
  warm: readonly MemberRecord[],
): MemberRecord[] {
  const trusted = current.filter((member) => !isDoubted(draft, member));
  const entering = trusted.filter((member) => !isAside(draft, member));
  if (entering.length > 0) {
    return [
      ...entering,
      ...warm.filter((member) => !isDoubted(draft, member) && !isAside(draft, member)),
    ];
  }
  return trusted.length > 0 ? trusted : [...current];
}

/** For how long yet; null: it doesn't. */
export function leftAside({ aside }: CoordinatorState, { id }: MemberRecord, now: number): number | null {
  const left = (aside.get(id)?.until ?? 0) - now;
  return left > 0 ? left : null;
}

/**
 * Finds out, before an epoch begins, whether one of those who would be in it has to stand aside, for what came of the
 * one before.
 */
export function judge(draft: Draft, candidates: readonly MemberRecord[]): void {
  const { state } = draft;
  const here = candidates.filter((member) => !isAside(draft, member)).sort(byId);
  const accounts = here.map((member) => accountOf(draft, member)).filter(({ epochs, isRecent }) => {
    return isRecent && epochs >= MAX_FAILURES;
  });
  if (accounts.length === 0 || here.length === 1) return;
  const [worst] = accounts.sort((a, b) => {
    return b.others.length - a.others.length || b.epochs - a.epochs || -byId(a.member, b.member);
  });
  const { member, others } = worst;
  const until = draft.now + setAside(draft, worst);
  const minutes = Math.round((until - draft.now) / 60_000);
  const [other] = others;
  const isPair = others.length === 1;
  const failed = isPair
    ? `${member.id} and ${other} failed each other in step ${state.step + 1}`
    : `${member.id} and each of ${others.join(", ")} failed each other in step ${state.step + 1}`;
  const advice = isPair
    ? `see that each reaches the other: ${
      [member.id, other].map((id) => `${id} at ${state.members.get(id)?.url}`).join(", ")
    }`
    : `look at its network, its memory, and whether it reaches the others' addresses`;
  const text = `${member.id} stands aside for ${minutes} min: ${failed} (${
    describe(worst.failures)
  }); ${advice}`;
  log(draft, "warn", text);
  for (const id of isPair ? [member.id, other] : [member.id]) {
    const told = state.members.get(id);
    if (told !== undefined) send(draft, told, { type: "hold", reason: toReason(text) });
  }
}

interface Account {
  readonly member: MemberRecord;
  readonly failures: readonly Failure[];
  readonly others: readonly string[];
  /** In so many it failed another, or another it. */
  readonly epochs: number;
  /** One of them is the last. */
  readonly isRecent: boolean;
}

function accountOf({ state, now }: Draft, member: MemberRecord): Account {
  const { id } = member;
  // Who stands aside as one of a pair with it still speaks against it, whatever was lost or done since.
  const pairs = [...state.aside].filter(([, { until, others }]) => now < until && others.join() === id);
  const failures = state.failures.filter(({ by, of }) => by !== of && (by === id || of === id));
  const epochs = new Set(failures.map(({ epoch }) => epoch));
  const others = new Set([
    ...pairs.map(([other]) => other),
    ...failures.map(({ by, of }) => (by === id ? of : by)),
  ]);
  return {
    member,
    failures,
    others: [...others].sort(),
    epochs: epochs.size,
    isRecent: epochs.has(state.epoch),
  };
}

/** @returns for how long */
function setAside({ state, now }: Draft, { member: { id }, others }: Account): number {
  const aside = new Map([...state.aside].filter(([, { until, ms }]) => now < until + ms));
  const ms = Math.min(2 * (aside.get(id)?.ms ?? ASIDE_MS / 2), MAX_ASIDE_MS);
  // Whose only fault was to be one of a pair with it has none.
  for (const other of others.length > 1 ? others : []) {
    if (aside.get(other)?.others.join() === id) aside.delete(other);
  }
  state.aside = aside.set(id, { until: now + ms, ms, others });
  return ms;
}

function describe(failures: readonly Failure[]): string {
  const said = new Map(failures.map(({ by, of, reason }) => [`${by} of ${of}`, reason]));
  return [...said].slice(-MAX_EXAMPLES).map(([who, reason]) => `${who}: ${reason.slice(0, MAX_WHY)}`).join(
    "; ",
  );
}
