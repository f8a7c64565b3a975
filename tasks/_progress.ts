import type { StepLine } from "../src/train/metricsLog.ts";
import { formatClock, formatRough } from "./_format.ts";
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

/** As many fields as fit into a line of so many columns, from the left: all of an ordinary run's into 80. */
export function formatProgress(line: StepLine, columns: number): string {
  const { step, totalSteps, loss, bitsPerByte, learningRate, msPerStep, tokensPerSecond, gflops } = line;
  const fields = [
    `${String(step).padStart(String(totalSteps).length)}/${totalSteps}`,
    `loss ${loss.toFixed(3)}`,
    `bpb ${bitsPerByte.toFixed(2)}`,
    `lr ${learningRate.toExponential(1)}`,
    formatRough(msPerStep, [" ms", " s"]),
    `${formatRough(tokensPerSecond, ["", "k", "M", "G"])} tok/s`,
    `${formatRough(gflops, [" G", " T", " P"])}F/s`,
    ...(step < totalSteps ? [`ETA ${formatClock(line.etaSeconds)}`] : []),
  ];
  // a terminal wraps once its last column is written
  while (fields.length > 1 && fields.join(" ").length >= columns) fields.pop();
  return fields.join(" ").slice(0, Math.max(0, columns - 1));
}
