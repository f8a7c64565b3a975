import type { Objective, ObjectiveContext } from "./objective.ts";

/**
 * Prefix LM (Raffel et al. 2020; Wang et al. 2022): the first p of T + 1 tokens are given, the others are predicted.
 * p is uniform over 1 to T - 1 for each row.
 */
export function prefix({ seqLen }: ObjectiveContext): Objective {
  return {
    windowLength: seqLen > 1 ? seqLen + 1 : 0,
    example: (window, draw) => ({ tokens: window, given: 1 + draw(Math.max(1, window.length - 2)) }),
  };
}
