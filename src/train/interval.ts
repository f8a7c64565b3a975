import type { Amount } from "../config/amount.ts";
import type { Progress } from "../config/derive.ts";

const MILLISECONDS = { s: 1e3, m: 60e3, h: 3600e3 } as const;

/**
 * Has a multiple of the interval been passed since it was last obeyed? Counts, not differences: a resumed run obeys at
 * the same steps as one that never stopped.
 *
 * @param elapsedMs wall-clock time since it was last obeyed, for intervals in `s`, `m` and `h`
 */
export function isDue(interval: Amount | null, last: Progress, now: Progress, elapsedMs: number): boolean {
  if (interval === null) return false;
  switch (interval.unit) {
    case "steps":
      return passed(interval.value, last.step, now.step);
    case "samples":
      return passed(interval.value, last.samples, now.samples);
    case "tokens":
      return passed(interval.value, last.tokens, now.tokens);
    default:
      return now.step > last.step && elapsedMs >= interval.value * MILLISECONDS[interval.unit];
  }
}

function passed(size: number, last: number, now: number): boolean {
  return Math.floor(now / size) > Math.floor(last / size);
}
