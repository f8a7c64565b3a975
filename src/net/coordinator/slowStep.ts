/** A step that doesn't end: the members beat, so none of them counts as lost, but one may hang. */
import { inSeconds } from "../control/seconds.ts";
import { remove } from "./loss.ts";
import { isAtWork, usualMs } from "./stepTime.ts";
import { type Draft, log, type MemberRecord, withRole } from "./types.ts";

/** Of the usual time: what is much longer. */
const MUCH = 10;
const LEAST_MS = 5000;
/** Where no time is usual yet: first steps compile kernels. */
const FIRST_MS = 600_000;

/** Says once of a step that takes much longer than usual for whom it waits; sends them away where that was asked for. */
export function watchStep(draft: Draft): void {
  const { state, now } = draft;
  if (state.phase !== "training" || state.reason !== null) return; // `reason`: it is the coordinator that waits
  const ms = now - state.begunAt;
  const active = withRole(draft, "active");
  const atWork = active.filter((member) => isAtWork(state, member));
  const usual = usualMs(state);
  if (!state.isSlowSaid && ms > (usual === null ? FIRST_MS : Math.max(MUCH * usual, LEAST_MS))) {
    state.isSlowSaid = true;
    const often = usual === null ? "" : `, usually ${inSeconds(usual)}`;
    log(
      draft,
      "warn",
      `Step ${state.step + 1} has taken ${inSeconds(ms)} so far${often}: ${explain(draft, active, atWork)}`,
    );
  }
  const { stepTimeoutMs = Infinity } = state.settings;
  if (ms <= stepTimeoutMs || atWork.length === active.length) return;
  for (const member of atWork) {
    remove(
      draft,
      member,
      `${member.id} is still at work on step ${state.step + 1} after ${
        inSeconds(ms)
      }, longer than --step-timeout allows, and others wait`,
    );
  }
}

function explain({ state }: Draft, active: readonly MemberRecord[], atWork: readonly MemberRecord[]): string {
  if (atWork.length === active.length) return "all nodes are still at work";
  if (atWork.length > 0) {
    return `${nameAll(atWork)} ${atWork.length === 1 ? "is" : "are"} still at work, and the others wait`;
  }
  const exchanging = active.filter(({ id }) => !state.ready.has(id));
  return `all have computed; ${nameAll(exchanging)} ${
    exchanging.length === 1 ? "lacks" : "lack"
  } parts of the sum`;
}

function nameAll(members: readonly MemberRecord[]): string {
  return members.map(({ id }) => id).join(", ");
}
