import type { OptimizerSpec, Progress, ProgressUnit } from "../config/derive.ts";

/**
 * The learning rate of a step.
 *
 * @param progress what is consumed **after** the step's batch: step 1 of a warm-up of W steps has rate / W, step W has
 * the full rate, and a decay ends with the step that consumes its last sample or token.
 *
 * With m = minLearningRate, r = learningRate, w = progress / warmup, and t = the share of the decay that is done (0 to
 * 1, each measured in its own unit):
 *
 *     warm-up        r w
 *     cosine         m + (r - m) (1 + cos(pi t)) / 2    from the warm-up's end
 *     linear         m + (r - m) (1 - t)                from the warm-up's end
 *     wsd            m + (r - m) (1 - t)                in the last part of the run, constant before
 *     inverseSqrt    r / sqrt(w), at least m
 *     constant       r
 *
 * Sources: cosine as in GPT-3 and Megatron-LM, inverseSqrt as in T5, wsd (warm-up, stable, decay) as in MiniCPM.
 */
export function learningRateAt(optimizer: OptimizerSpec, progress: Progress): number {
  const { learningRate: rate, minLearningRate: min, schedule, warmup, decay } = optimizer;
  const warm = measure(progress, warmup.unit) / warmup.value; // without a warm-up: infinite
  if (warm <= 1) return rate * warm;
  if (decay === null) return schedule === "inverseSqrt" ? Math.max(min, rate / Math.sqrt(warm)) : rate;

  const { from, to, unit } = decay;
  const passed = measure(progress, unit);
  if (passed >= to) return min;
  const share = Math.max(0, (passed - from) / (to - from));
  const shape = schedule === "cosine" ? 0.5 * (1 + Math.cos(Math.PI * share)) : 1 - share;
  return min + (rate - min) * shape;
}

function measure(progress: Progress, unit: ProgressUnit): number {
  return unit === "steps" ? progress.step : progress[unit];
}
