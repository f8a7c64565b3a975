import type { Output } from "./_cli.ts";

/** What a progress line shows. */
export interface StepProgress {
  readonly step: number;
  readonly totalSteps: number;
  /** Mean cross entropy in nats per token. */
  readonly loss: number;
  readonly bitsPerByte: number;
  readonly learningRate: number;
  readonly msPerStep: number;
  readonly tokensPerSecond: number;
  readonly flopsPerSecond: number;
  /** Time that is left. */
  readonly remainingMs: number;
}

/** A line that is rewritten in place on a terminal, and printed anew each time elsewhere. */
export interface ProgressLine {
  update(progress: StepProgress): void;
  /** Prints a line that stays; the progress goes on below it. */
  say(line: string): void;
  /** Leaves the last state on the screen. */
  end(): void;
}

const CLEAR_LINE = "\r\x1b[K";

export function progressLine(out: Output): ProgressLine {
  let live = "";
  return {
    update(progress) {
      const columns = out.columns();
      const line = formatProgress(progress, columns ?? Infinity);
      if (columns === null) return out.write(line + "\n");
      live = line;
      out.write(CLEAR_LINE + live);
    },
    say(line) {
      out.write(live === "" ? line + "\n" : CLEAR_LINE + line + "\n" + live);
    },
    end() {
      if (live !== "") out.write("\n");
      live = "";
    },
  };
}

/** The fields that fit into a line of so many columns, the most important ones first to stay. */
export function formatProgress(progress: StepProgress, columns: number): string {
  const { step, totalSteps } = progress;
  const fields = [
    { rank: 0, text: `step ${String(step).padStart(String(totalSteps).length)}/${totalSteps}` },
    { rank: 1, text: `loss ${progress.loss.toFixed(4)}` },
    { rank: 3, text: `${progress.bitsPerByte.toFixed(3)} bits/byte` },
    { rank: 6, text: `lr ${progress.learningRate.toExponential(2)}` },
    { rank: 5, text: `${formatScaled(progress.msPerStep, 1000, [" ms/step", " s/step"])}` },
    { rank: 4, text: `${formatCount(progress.tokensPerSecond)} tokens/s` },
    {
      rank: 7,
      text: `${formatScaled(progress.flopsPerSecond / 1e9, 1000, [" GFLOP/s", " TFLOP/s", " PFLOP/s"])}`,
    },
    { rank: 2, text: `ETA ${formatDuration(progress.remainingMs)}` },
  ];
  for (let kept = fields.length; kept > 0; kept--) {
    const line = fields.filter((field) => field.rank < kept).map((field) => field.text).join("  ");
    if (line.length < columns) return line; // a terminal wraps once its last column is written
  }
  return fields[0].text.slice(0, Math.max(0, columns - 1));
}

/** `512 B`, `1.50 KiB`, `12.3 GiB`. */
export function formatBytes(bytes: number): string {
  return formatScaled(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"]);
}

/** `950`, `12.3k`, `1.32B`. */
export function formatCount(count: number): string {
  return formatScaled(count, 1000, ["", "k", "M", "B", "T"]);
}

/** `85 ms`, `7.3 s`, `3 min 05 s`, `2 h 04 min`, `3 d 04 h`. */
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
  return `${Math.floor(seconds / size)} ${unit} ${String(rest).padStart(2, "0")} ${nextUnit}`;
}

/** Three digits and the unit in which the value is below `base`. */
function formatScaled(value: number, base: number, units: readonly string[]): string {
  let unit = 0;
  while (value >= base - 0.5 && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  const isWhole = unit === 0 && Number.isInteger(value);
  const decimals = isWhole || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(decimals) + units[unit];
}
