/** How benchmarks say what they found: a line for people, or a JSON object a line. */

export interface Result {
  readonly bench: string;
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  /** The library that is compared with; `ratio` is how many times faster we are. */
  readonly peer?: string;
  readonly ratio?: number;
  /** What else belongs to the figure. */
  readonly note?: string;
}

export type Report = (result: Result) => void;

/** @param say prints a line for people @param emit prints a JSON line, if asked for */
export function reporter(
  say: (line: string) => void,
  emit: (result: Record<string, unknown>) => void,
): Report {
  return (result) => {
    const { case: name, value, unit, peer, ratio, note } = result;
    const digits = value.toLocaleString("en-US", {
      minimumSignificantDigits: 4,
      maximumSignificantDigits: 4,
    });
    const beside = peer === undefined
      ? ""
      : `  ${peer}${ratio === undefined ? "" : `, ratio ${ratio.toFixed(2)}`}`;
    const text = `${name.padEnd(44)} ${digits.padStart(9)} ${unit.padEnd(9)}${beside}`;
    say(text + (note === undefined ? "" : `  (${note})`));
    emit({ ...result });
  };
}

/** Says so if a roof that was measured before and after has moved by more than a tenth. */
export function reportDrift(
  report: Report,
  bench: string,
  before: number,
  after: number,
  unit: string,
): void {
  const drift = after / before - 1;
  const isSteady = Math.abs(drift) <= 0.1;
  report({
    bench,
    case: "roof drift",
    value: drift * 100,
    unit: "%",
    note: isSteady
      ? `before ${before.toPrecision(3)}, after ${after.toPrecision(3)} ${unit}`
      : "more than 10%: the machine was not quiet, measure again",
  });
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Numbers in [-1, 1), the same for the same seed. */
export function noise(length: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
