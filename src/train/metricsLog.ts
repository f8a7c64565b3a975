import { join } from "@std/path";
import { writeAtomically } from "../data/atomicFile.ts";
import { cannotWrite } from "../formats/file.ts";
import { cutBack, type EventFile, openEventFile } from "../formats/tensorboard.ts";
import { readIfThere } from "./durable.ts";
import type { TrainState } from "./state.ts";
import type { Validation } from "./validate.ts";

/** What the file of steps and validations is called. */
export const METRICS = "metrics.jsonl";

/** A step, as it is shown and kept. */
export interface StepLine {
  readonly step: number;
  readonly totalSteps: number;
  readonly samples: number;
  readonly tokens: number;
  /** Mean cross entropy of the step's targets, in nats. */
  readonly loss: number;
  /** What the z-loss adds to it in the gradient. */
  readonly zLoss: number;
  readonly bitsPerByte: number;
  readonly learningRate: number;
  /** Global norm of the gradient before clipping. */
  readonly gradNorm: number;
  readonly tokensPerSecond: number;
  readonly msPerStep: number;
  /** 10^9 floating point operations a second, of forward and backward. */
  readonly gflops: number;
  readonly etaSeconds: number;
}

/** The history that a run keeps in its folder. */
export interface MetricsLog extends Disposable {
  step(line: StepLine): void;
  /** @param final scored on the whole held-out part, at the end */
  validation(step: number, validation: Validation, final: boolean): void;
  sample(step: number, text: string): void;
  /** Forgets what came after a state, so that the run goes on from it as if nothing had been after. */
  cutBack(state: TrainState): Promise<void>;
}

/**
 * Opens metrics.jsonl, samples.jsonl and, if asked, the TensorBoard events of a run's folder to append to.
 *
 * @throws UserError, also from its functions, if they can't be written
 */
export function openMetricsLog(folder: string, tensorboard: boolean): MetricsLog {
  const metrics = join(folder, METRICS);
  const samples = join(folder, "samples.jsonl");
  const eventPath = join(folder, "events.out.tfevents.0.bloomery");
  let events: EventFile | null = null; // opened after a torn end has been cut off
  return {
    step(line) {
      appendLine(metrics, line);
      const { step, totalSteps: _, samples: __, etaSeconds: ___, ...values } = line;
      events?.scalars(step, tagged("train", values));
    },
    validation(step, { loss, standardError, bitsPerByte, perplexity, rows }, final) {
      const values = { loss, standardError, bitsPerByte, perplexity, rows };
      appendLine(metrics, { step, [final ? "finalValidation" : "validation"]: values });
      events?.scalars(step, tagged(final ? "final" : "validation", values));
    },
    sample(step, text) {
      appendLine(samples, { step, text });
      events?.text(step, "sample", text);
    },
    async cutBack({ step, validatedStep, sampledStep }) {
      await keepLines(metrics, (line) => {
        if ("finalValidation" in line) return false; // written again when the run ends
        return line.step <= ("validation" in line ? validatedStep : step);
      });
      await keepLines(samples, (line) => line.step <= sampledStep);
      if (!tensorboard) return;
      events?.[Symbol.dispose]();
      cutBack(eventPath, step);
      events = openEventFile(eventPath);
    },
    [Symbol.dispose]: () => events?.[Symbol.dispose](),
  };
}

function tagged(group: string, values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${group}/${name}`, value]));
}

function appendLine(path: string, line: object): void {
  try {
    Deno.writeTextFileSync(path, JSON.stringify(line) + "\n", { append: true });
  } catch (error) {
    cannotWrite(path, error);
  }
}

/** Rewrites a file of lines without those that are not wanted, and without a torn last one. */
async function keepLines(path: string, wanted: (line: { step: number }) => boolean): Promise<void> {
  const text = await readIfThere(path);
  if (text === null) return;
  const kept = text.split("\n").slice(0, -1).filter((line) => wanted(JSON.parse(line)));
  await writeAtomically(path, kept.map((line) => line + "\n").join(""));
}
