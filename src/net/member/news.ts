/** What a member tells people of its group. */
import { describeSharing, shareOut } from "../shares.ts";

/** An epoch as a member hears of it. */
export interface EpochNews {
  readonly step: number;
  /** Had this member begun the step before? */
  readonly isAgain: boolean;
  /** Since when no step was under way here; null: since not long ago. */
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

/** Who does the steps from now on, and what this member has to do, as one line; null: nothing has changed. */
export function describeEpoch(news: EpochNews): string | null {
  const { step, isAgain, waitedMs, self, before, members, spares, virtualWorkers } = news;
  const gone = before.filter((id) => !members.includes(id));
  const come = before.length === 0 ? [] : members.filter((id) => !before.includes(id));
  const isLong = waitedMs !== null && waitedMs >= LONG_MS;
  const own = members.indexOf(self);
  if (own < 0 && !spares.includes(self)) return null; // it has nothing to do with it yet
  const isSame = before.length > 0 && gone.length + come.length === 0;
  if (isSame && !isAgain && !isLong && own >= 0) return null;
  const parts = [
    `Step ${step} begins${isAgain ? " again" : ""} with ${members.length} ${
      members.length === 1 ? "node" : "nodes"
    }`,
    ...(gone.length === 0 ? [] : [`without ${nameAll(gone, self)}`]),
    ...(come.length === 0 ? [] : [`${nameAll(come, self)} new`]),
    ...(isLong ? [`after ${Math.round(waitedMs / 1000)} s`] : []),
  ];
  return `${parts.join(", ")}; this one ${describePart(news, own)}`;

  function describePart({ members, spares }: EpochNews, own: number): string {
    if (own < 0) return `stands by: ${describeSharing(virtualWorkers, members.length + spares.length)}`;
    const { from, to } = shareOut(virtualWorkers, members.length)[own];
    return `has ${to - from} of ${virtualWorkers} virtual workers`;
  }
}

function nameAll(ids: readonly string[], self: string): string {
  const names = ids.map((id) => (id === self ? "this one" : id));
  const rest = names.length - MAX_NAMES;
  return names.slice(0, MAX_NAMES).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
