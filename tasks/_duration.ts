import { UserError } from "../src/errors.ts";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 };
/** A day: longer is a mistake, and timers count to 24 days only. */
const MOST_MS = 86_400_000;

/**
 * A time as people write it (`500ms`, `30s`, `5min`, `2h`), in milliseconds.
 *
 * @param leastMs what is allowed
 * @throws UserError for anything else, naming the flag
 */
export function parseDuration(flag: string, text: string, leastMs: number): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?) ?(ms|s|min|h)$/.exec(text.trim()) ?? [];
  const ms = unit === undefined ? NaN : Math.round(Number(amount) * UNITS[unit]);
  if (ms >= leastMs && ms <= MOST_MS) return ms;
  throw new UserError(
    `${flag} is ${JSON.stringify(text)}, expected ${leastMs}ms to 24h, such as 500ms, 30s or 5min`,
  );
}
