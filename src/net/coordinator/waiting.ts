/** For whom a step waited: who computed longest, and whose frames came last although it did not. */
import type { CoordinatorState } from "./types.ts";

/**
 * Adds to the accounts of members how long the others waited for them in the step that has just been done: for the one
 * whose own sums were last, since those of the second slowest; for the one whose frames came last, what can't be due to
 * the slowest one's work, as a mean over the others.
 */
export function noteLast({ ready, members }: CoordinatorState): void {
  const byWork = [...ready].sort(([, a], [, b]) => b.workMs - a.workMs);
  const [last, second] = byWork;
  if (second === undefined) return;
  const work = last[1].workMs - second[1].workMs;
  const links = new Map<string, number>();
  for (const { workMs, slowest } of ready.values()) {
    if (slowest === null || !members.has(slowest.peer)) continue;
    const ms = Math.min(slowest.beyondMs, slowest.afterMs - (last[1].workMs - workMs));
    links.set(slowest.peer, (links.get(slowest.peer) ?? 0) + Math.max(ms, 0) / (ready.size - 1));
  }
  const [late, link] = [...links].reduce((most, each) => (each[1] > most[1] ? each : most), ["", 0]);
  const worker = members.get(last[0]);
  const linked = members.get(late);
  if (worker !== undefined) worker.waitMs += work;
  if (linked !== undefined) {
    linked.waitMs += link;
    linked.linkMs += link;
  }
  const most = link > work ? linked : worker;
  if (most !== undefined) most.lastSteps++;
}
