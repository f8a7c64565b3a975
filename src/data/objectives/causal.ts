import type { Objective, ObjectiveContext } from "./objective.ts";

/** Every token but the first is predicted from those before it. */
export function causal({ seqLen }: ObjectiveContext): Objective {
  return { windowLength: seqLen + 1, example: (window) => ({ tokens: window, given: 0 }) };
}
