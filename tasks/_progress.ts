import type { StepLine } from "../src/train/metricsLog.ts";
import { formatCount, formatDuration, formatFlop, formatInteger, formatShortTime } from "./_format.ts";
import type { Screen } from "./_screen.ts";

/** How far a run has come: a live line on a terminal, now and then a line elsewhere. */
export interface Progress {
  update(line: StepLine): void;
  /** Leaves the last state on the screen. */
  end(): void;
}

/** Between lines that stay, where there is no terminal: a log is read later, and metrics.jsonl has every line. */
const SPACING_MS = 10_000;

/** @param now milliseconds from any start */
export function openProgress(screen: Screen, now: () => number = () => performance.now()): Progress {
  let unsaid: string | null = null;
  let saidAt = -Infinity;
  const say = (text: string) => {
    screen.say(text);
    saidAt = now();
    unsaid = null;
  };
  return {
    update(line) {
      const { columns } = screen;
      unsaid = formatProgress(line, columns ?? Infinity);
      if (columns !== null) screen.show(unsaid);
      else if (now() - saidAt >= SPACING_MS) say(unsaid);
    },
    end() {
      screen.show("");
      if (unsaid !== null) say(unsaid);
    },
  };
}

/** The fields that fit into a line of so many columns; those of low rank stay longest. */
export function formatProgress(line: StepLine, columns: number): string {
  const [step, total] = [line.step, line.totalSteps].map(formatInteger);
  const fields = [
    { rank: 0, text: `step ${step.padStart(total.length)}/${total}` },
    { rank: 1, text: `loss ${line.loss.toFixed(4)}` },
    { rank: 3, text: `${line.bitsPerByte.toFixed(3)} bits/byte` },
    { rank: 6, text: `lr ${line.learningRate.toExponential(2)}` },
    { rank: 5, text: `${formatShortTime(line.msPerStep)}/step` },
    { rank: 4, text: `${formatCount(line.tokensPerSecond)} tokens/s` },
    { rank: 7, text: `${formatFlop(line.gflops * 1e9)}/s` },
  ];
  if (line.step < line.totalSteps) {
    fields.push({ rank: 2, text: `ETA ${formatDuration(line.etaSeconds * 1000)}` });
  }
  for (let highest = 7; highest >= 0; highest--) {
    const text = fields.filter(({ rank }) => rank <= highest).map(({ text }) => text).join("  ");
    if (text.length < columns) return text; // a terminal wraps once its last column is written
  }
  return fields[0].text.slice(0, Math.max(0, columns - 1));
}
