/** Numbers as people read them. */

/** `842496` as `842,496`. */
export function formatInteger(value: number): string {
  return value.toLocaleString("en-US");
}

/** `950`, `12.3k`, `1.32B`: three digits. */
export function formatCount(count: number): string {
  return formatScaled(count, 1000, ["", "k", "M", "B", "T"]);
}

/** `512 B`, `1.50 KiB`, `12.3 GiB`. */
export function formatBytes(bytes: number): string {
  return formatScaled(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"]);
}

/** Floating point operations: `11.3 GFLOP`, `1.32 ZFLOP`; a rate with `/s` behind it. */
export function formatFlop(operations: number): string {
  return formatScaled(
    operations,
    1000,
    ["", "k", "M", "G", "T", "P", "E", "Z"].map((prefix) => ` ${prefix}FLOP`),
  );
}

/** `1.2345 ± 0.0067`. @param standardError null or NaN: unknown, as of a single row */
export function formatEstimate(value: number, standardError: number | null): string {
  const isKnown = standardError !== null && !Number.isNaN(standardError);
  return value.toFixed(4) + (isKnown ? ` ± ${standardError.toFixed(4)}` : "");
}

/** What something short takes, to three digits: `1.34 ms`, `85.2 ms`, `3.40 s`. */
export function formatShortTime(ms: number): string {
  return formatScaled(ms, 1000, [" ms", " s"]);
}

/** What something long takes: `85 ms`, `7.3 s`, `3 min 05 s`, `2 h 04 min`, `3 d 04 h`. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return "?";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1e3).toFixed(1)} s`;
  const seconds = Math.round(ms / 1e3);
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const;
  const first = units.findIndex(([, size]) => seconds >= size);
  const [unit, size] = units[first];
  if (size === 1) return `${seconds} s`;
  const [nextUnit, nextSize] = units[first + 1];
  const rest = Math.floor(seconds % size / nextSize);
  return `${formatInteger(Math.floor(seconds / size))} ${unit} ${String(rest).padStart(2, "0")} ${nextUnit}`;
}

/** The same in few characters: `42s`, `3m05`, `2h04`, `3d04`. */
export function formatClock(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const [unit, size, parts] = whole < 3600
    ? ["m", 60, 60]
    : whole < 86_400
    ? ["h", 3600, 60]
    : ["d", 86_400, 24];
  const rest = Math.floor(whole % size / (size / parts));
  return `${Math.floor(whole / size)}${unit}${String(rest).padStart(2, "0")}`;
}

/** Two digits at least, `5.2 ms`, `85 ms`. @param units each a thousand of the one before */
export function formatRough(value: number, units: readonly string[]): string {
  return formatScaled(value, 1000, units, 2);
}

/** So many digits and the unit in which the value is below `base`; more digits where the unit is the last. */
function formatScaled(value: number, base: number, units: readonly string[], digits = 3): string {
  let unit = 0;
  while (value >= base - 0.5 && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  const isWhole = unit === 0 && Number.isInteger(value);
  let decimals = isWhole ? 0 : digits - 1;
  while (decimals > 0 && value >= 10 ** (digits - decimals) - 0.5 * 10 ** -decimals) decimals--;
  const fraction = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en-US", fraction) + units[unit];
}
