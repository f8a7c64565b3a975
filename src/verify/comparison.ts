import type { Comparison } from "../ops/check.ts";

export type { Comparison } from "../ops/check.ts";

/**
 * What a model computed beside its reference: the error that is largest in proportion to what it may be, and what it
 * may be there. A value that is not a number counts as an infinite error.
 *
 * @param wanted finite values
 * @param limit the largest error allowed where the reference is `wanted`
 */
export function compareValues(
  caseName: string,
  quantity: string,
  found: ArrayLike<number>,
  wanted: ArrayLike<number>,
  limit: (wanted: number) => number,
): Comparison {
  if (found.length !== wanted.length) {
    throw new Error(`${caseName}: ${quantity} has ${found.length} values, its reference ${wanted.length}`);
  }
  let maxError = 0;
  let tolerance = limit(0);
  let worst = -1;
  for (let i = 0; i < wanted.length; i++) {
    const difference = Math.abs(found[i] - wanted[i]);
    const error = Number.isNaN(difference) ? Infinity : difference;
    const allowed = limit(wanted[i]);
    const share = error === 0 ? 0 : error / allowed;
    if (share > worst) {
      worst = share;
      maxError = error;
      tolerance = allowed;
    }
  }
  return { case: caseName, quantity, maxError, tolerance, ok: worst <= 1 };
}
