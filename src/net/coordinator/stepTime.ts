/** How long steps take, and who is still at work on the one under way. */
import type { CoordinatorState, Draft, MemberRecord } from "./types.ts";

/** Steps of which the usual time is taken. */
const KEPT = 15;
const LEAST = 3;

export function beginStep({ state, now }: Draft): void {
  state.begunAt = now;
  state.isSlowSaid = false;
}

export function endStep({ state, now }: Draft): void {
  state.stepMs = [...state.stepMs, now - state.begunAt].slice(-KEPT);
}

/** The median of the last steps' times; null: there were too few. */
export function usualMs({ stepMs }: CoordinatorState): number | null {
  return stepMs.length < LEAST ? null : stepMs.toSorted((a, b) => a - b)[stepMs.length >> 1];
}

/** Does a member still compute its part of the step under way, as of its last heartbeat? */
export function isAtWork(
  { phase, step, ready }: CoordinatorState,
  { id, role, computed }: MemberRecord,
): boolean {
  return phase === "training" && role === "active" && computed !== step + 1 && !ready.has(id);
}
