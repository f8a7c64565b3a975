/** What a member tells people of its group. */
import { describeSharing, shareOut } from "../sum/shares.ts";

/** An epoch as a member hears of it. */
export interface EpochNews {
  readonly step: number;
  /** The step was given up here. */
  readonly isAgain: boolean;
  /** How long nothing went on here; null: it did. */
  readonly waitedMs: number | null;
  readonly self: string;
  /** By id; empty: it knew of none. */
  readonly before: readonly string[];
  readonly members: readonly string[];
  readonly spares: readonly string[];
  readonly virtualWorkers: number;
}

const MAX_NAMES = 4;
/** A shorter pause is not worth a word. */
const LONG_MS = 5000;

/** Who does the steps from now on, and what this member has to do, as one line; null: nothing has changed for it. */
export function describeEpoch(news: EpochNews): string | null {
  const { step, isAgain, waitedMs, self, before, members, spares, virtualWorkers } = news;
  const isIn = members.includes(self);
  if (!isIn && !spares.includes(self)) return null; // it has nothing to do with it yet
  const gone = before.filter((id) => !members.includes(id));
  const come = before.length === 0 ? [] : members.filter((id) => !before.includes(id));
  const isSame = before.length > 0 && gone.length + come.length === 0;
  if (isIn && isSame && waitedMs === null) return null;
  const others = come.filter((id) => id !== self);
  const parts = [
    `${come.includes(self) ? "This node enters: step" : "Step"} ${step} begins${isAgain ? " again" : ""}` +
    ` with ${members.length} ${members.length === 1 ? "node" : "nodes"}`,
    ...(gone.length === 0 ? [] : [`without ${nameAll(gone)}`]),
    ...(others.length === 0 ? [] : [`${nameAll(others)} new`]),
    ...(waitedMs === null ? [] : describeWait(waitedMs)),
  ];
  const share = isIn ? shareOut(virtualWorkers, members.length)[members.indexOf(self)] : null;
  const isFull = members.length >= virtualWorkers;
  const part = share !== null
    ? `has ${share.to - share.from} of ${virtualWorkers} virtual workers`
    : `stands by${isFull ? `: ${describeSharing(virtualWorkers, members.length + spares.length)}` : ""}`;
  return `${parts.join(", ")}; this one ${part}`;
}

/** What was said to hold a group up does so no more. */
export function describeResumption(step: number, waitedMs: number): string {
  return [`Step ${step} is done`, ...describeWait(waitedMs)].join(" ") + ", and the run goes on";
}

function describeWait(ms: number): string[] {
  return ms < LONG_MS ? [] : [`after ${Math.round(ms / 1000)} s`];
}

function nameAll(ids: readonly string[]): string {
  const rest = ids.length - MAX_NAMES;
  return ids.slice(0, MAX_NAMES).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
