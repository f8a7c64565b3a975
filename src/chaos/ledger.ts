/** What the members of a group did, as each has said it while it did so, and whether that was what the run's plan says. */
import type { RunSpec } from "../config/derive.ts";

/** A line of a member. Times are in milliseconds since 1970. */
export type Entry =
  /** A process begins. */
  | { readonly kind: "start"; readonly at: number }
  | { readonly kind: "begin"; readonly at: number; readonly epoch: number; readonly step: number }
  /** Its part of a step is in the sum; the samples are those that it has read for it. */
  | {
    readonly kind: "ready";
    readonly at: number;
    readonly epoch: number;
    readonly step: number;
    readonly samples: readonly number[];
  }
  /** It has a committed step; epoch null: from another member. */
  | { readonly kind: "apply"; readonly at: number; readonly epoch: number | null; readonly step: number }
  /** It takes over another member's state. */
  | { readonly kind: "copy"; readonly at: number }
  /** It has done the last step. */
  | { readonly kind: "end"; readonly at: number; readonly digest: string };

/**
 * Holds what members have applied against the plan: each step was applied, and each time that a group committed one,
 * its members had read just the samples of the step, each once.
 *
 * @param plan up to the last step that was done
 * @returns what is wrong, a line each
 */
export function auditSamples(
  entries: readonly Entry[],
  { totalSteps, batchAt }: Pick<RunSpec, "totalSteps" | "batchAt">,
): string[] {
  const read = new Map<string, number[]>();
  const committed = new Map<number, Set<number>>();
  for (const entry of entries) {
    if (entry.kind === "ready") {
      const key = `${entry.epoch}/${entry.step}`;
      read.set(key, [...read.get(key) ?? [], ...entry.samples]);
    } else if (entry.kind === "apply" && entry.epoch !== null) {
      committed.set(entry.step, (committed.get(entry.step) ?? new Set()).add(entry.epoch));
    }
  }
  const wrong: string[] = [];
  for (let step = 1; step <= totalSteps; step++) {
    const { firstSample, batchSize } = batchAt(step);
    const expected = Array.from({ length: batchSize }, (_, i) => firstSample + i).join();
    const epochs = committed.get(step) ?? new Set();
    if (epochs.size === 0) wrong.push(`Step ${step} was committed in no epoch`);
    for (const epoch of epochs) {
      const samples = (read.get(`${epoch}/${step}`) ?? []).toSorted((a, b) => a - b).join();
      if (samples !== expected) {
        wrong.push(`Step ${step} in epoch ${epoch} has the samples ${samples}, expected ${expected}`);
      }
    }
  }
  return wrong;
}

/** Steps that were begun again, each time counted. */
export function countRedone(entries: readonly Entry[]): number {
  const begun = new Map<number, Set<number>>();
  for (const entry of entries) {
    if (entry.kind === "begin") begun.set(entry.step, (begun.get(entry.step) ?? new Set()).add(entry.epoch));
  }
  return [...begun.values()].reduce((sum, epochs) => sum + epochs.size - 1, 0);
}

/** How long a member takes from one step to the next where nothing was in the way. */
export function stepTimes(entries: readonly Entry[]): number[] {
  const times: number[] = [];
  let last: Entry | null = null;
  for (const entry of entries) {
    if (entry.kind !== "apply") continue;
    const isNext = last?.kind === "apply" && entry.epoch !== null && entry.epoch === last.epoch &&
      entry.step === last.step + 1;
    if (last !== null && isNext) times.push(entry.at - last.at);
    last = entry;
  }
  return times;
}

/** The time from a moment until a step was committed that was begun after it; null: none was before `until`. */
export function recoveryTime(entries: readonly Entry[], from: number, until: number): number | null {
  const begun = new Set<string>();
  for (const entry of entries.toSorted((a, b) => a.at - b.at)) {
    if (entry.at <= from) continue;
    if (entry.at >= until) return null;
    if (entry.kind === "begin") begun.add(`${entry.epoch}/${entry.step}`);
    if (entry.kind === "apply" && begun.has(`${entry.epoch}/${entry.step}`)) return entry.at - from;
  }
  return null;
}
