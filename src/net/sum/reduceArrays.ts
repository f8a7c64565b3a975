import type { Allreduce, Reduced } from "./allreduce.ts";
import { cutBuckets } from "./partition.ts";

/**
 * Sums arrays of any length, bucket by bucket, several at a time, in the order of `cutBuckets`.
 *
 * @param pieces this member's, in ascending order of its virtual workers' subtrees. (n) each
 * @param out gets the sum; may be one of `pieces`. (n)
 * @param exactValues at the end that are not rounded on their way
 * @param step later than that of any sum before
 * @param whole resolves when the pieces are complete where a bucket is, named by its place in the order; by default they are
 * @returns one for each bucket
 * @throws ExchangeError
 *
 * @example
 * ```ts
 * // As many virtual workers as members: each has one piece.
 * await reduceArrays(allreduce, step, bucketElements, [gradient], gradient);
 * ```
 */
export async function reduceArrays(
  allreduce: Allreduce,
  step: number,
  bucketElements: number,
  pieces: readonly Float32Array[],
  out: Float32Array,
  exactValues = 0,
  whole: (bucket: number) => Promise<void> = () => Promise.resolve(),
): Promise<Reduced[]> {
  const running: Promise<Reduced>[] = [];
  for (const { from, to, exact } of cutBuckets(out.length, bucketElements, exactValues)) {
    await whole(running.length);
    const bucket = await allreduce.open(step, running.length, to - from, exact);
    bucket.pieces.forEach((piece, i) => piece.set(pieces[i].subarray(from, to)));
    const reduced = bucket.reduce().then((result) => {
      out.set(bucket.sum, from);
      bucket.release();
      return result;
    });
    reduced.catch(() => {}); // seen below, after all were opened
    running.push(reduced);
  }
  return await Promise.all(running);
}
