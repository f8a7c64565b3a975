import { type GroupStatus, toReason } from "../control/messages.ts";
import { shareOut } from "../sum/shares.ts";
import { leftAside } from "./blame.ts";
import { isAtWork } from "./stepTime.ts";
import type { CoordinatorState } from "./types.ts";
import { byId } from "./types.ts";

/** Who is in the group, what each does, and for whom the others wait. */
export function groupStatus(state: CoordinatorState, now: number): GroupStatus {
  const { phase, epoch, step, epochMembers, identity, reason } = state;
  const shares = identity === null || phase !== "training"
    ? []
    : shareOut(identity.virtualWorkers, epochMembers.length);
  return {
    type: "status",
    run: identity?.run ?? null,
    phase,
    reason: reason === null ? null : toReason(reason),
    epoch,
    step,
    members: [...state.members.values()].sort(byId).map((member) => ({
      id: member.id,
      role: member.role,
      share: member.role === "active" ? shares[epochMembers.indexOf(member.id)] ?? null : null,
      step: member.appliedStep,
      silentMs: now - member.lastSeen,
      tokensPerSecond: member.tokensPerSecond,
      exposedShare: member.exposedShare,
      lastSteps: member.lastSteps,
      waitMs: member.waitMs,
      linkMs: member.linkMs,
      atWorkMs: isAtWork(state, member) ? Math.max(now - state.begunAt, 0) : null,
      asideMs: leftAside(state, member, now),
    })),
  };
}
