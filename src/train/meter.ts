import type { RunSpec } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine, StepResult } from "../engine/engine.ts";
import type { StepLine } from "./metricsLog.ts";
import { learningRateAt } from "./schedule.ts";

/** Measures training by the clock; validation, checkpoints and what a group waits for don't count. */
export interface Meter {
  /** Of the last steps measured; 0 before the first. */
  readonly msPerStep: number;
  /** Counts steps that took `ms` together. */
  count(steps: number, tokens: number, ms: number): void;
  /** The line of a step; rates are of all that was counted since the last line. */
  line(result: StepResult): StepLine;
}

export function openMeter(config: RunConfig, run: RunSpec, engine: Engine, dataset: Dataset): Meter {
  let msPerStep = 0;
  let steps = 0;
  let tokens = 0;
  let ms = 0;
  return {
    get msPerStep() {
      return msPerStep;
    },
    count(moreSteps, moreTokens, moreMs) {
      msPerStep = moreMs / moreSteps;
      steps += moreSteps;
      tokens += moreTokens;
      ms += moreMs;
    },
    line({ step, lossSum, zSum, targetCount, gradNorm }) {
      const progress = run.progressAt(step);
      const tokensPerSecond = tokens / ms * 1e3;
      const loss = lossSum / targetCount;
      const line: StepLine = {
        step,
        totalSteps: run.totalSteps,
        samples: progress.samples,
        tokens: progress.tokens,
        loss,
        zLoss: config.model.zLoss * zSum / targetCount,
        bitsPerByte: loss / Math.LN2 / dataset.bytesPerToken,
        learningRate: learningRateAt(run.optimizer, progress),
        gradNorm,
        tokensPerSecond,
        msPerStep: ms / steps,
        gflops: tokensPerSecond * engine.report.flopsPerToken / 1e9,
        etaSeconds: (run.totalTokens - progress.tokens) / tokensPerSecond,
      };
      steps = tokens = ms = 0;
      return line;
    },
  };
}
