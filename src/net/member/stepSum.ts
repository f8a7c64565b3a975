/**
 * A member's part in a step: the sums of its share, and from them, with the others, the sum over all
 * virtual workers.
 */
import { deferred } from "../link/deferred.ts";
import { NotFiniteError, type Replica } from "../replica.ts";
import { type Allreduce, ExchangeError, type Reduced } from "../sum/allreduce.ts";
import type { Slowest } from "../sum/arrivals.ts";
import { Coverage } from "../sum/coverage.ts";
import { cutBuckets } from "../sum/partition.ts";
import { reduceArrays } from "../sum/reduceArrays.ts";
import type { Share } from "../sum/shares.ts";
import { subtreesOf } from "../sum/tree.ts";
import type { StepWork } from "./types.ts";

/** A step's sum, which nothing changes until `release` or the allreduce's next epoch. */
export interface StepSum {
  /** (sumLength), shared memory */
  readonly sum: Float32Array<ArrayBufferLike>;
  /** Of its buckets. */
  readonly digests: readonly string[];
  /** Of the state that the own sums were made from; undefined: the replica has none. */
  readonly stateHash: string | undefined;
  /** For the sums of its own share. */
  readonly workMs: number;
  /** Whose frames came last. */
  readonly slowest: Slowest | null;
  release(): void;
}

/**
 * Up to here a sum is one bucket: the replica writes its own sums to where they are sent from, and reads
 * the sum there.
 */
export const WHOLE_ELEMENTS = 1 << 25;
/** Of a longer sum, so many elements of the others' are in memory at a time, for each bucket that is open. */
const BUCKET_ELEMENTS = 1 << 22;
const OPEN_BUCKETS = 3;

/** How a sum is exchanged: a function of its length alone, so that it is the same on all members. */
export function bucketElementsOf(sumLength: number): number {
  return sumLength <= WHOLE_ELEMENTS ? sumLength : BUCKET_ELEMENTS;
}

/** Buckets that are open at once. */
export function openBuckets(sumLength: number, bucketElements: number, exactValues = 0): number {
  return Math.min(cutBuckets(sumLength, bucketElements, exactValues).length, OPEN_BUCKETS);
}

/**
 * What does the steps of a run one after the other, in epochs that the caller begins. Its promise rejects
 * with an ExchangeError when the step can't be done, with the signal's reason when it is given up, with the
 * replica's error.
 *
 * The promise's `parts`: in how many the last of the own sums leaves while it is computed, about; `onComputed` is called
 * when all own sums are there.
 *
 * @param bucketElements the allreduce's
 * @param exactValues at the end of a sum that are not rounded on their way
 */
export function createStepSum(
  allreduce: Allreduce,
  replica: Replica,
  virtualWorkers: number,
  bucketElements: number,
  exactValues = 0,
): (work: StepWork, signal: AbortSignal, parts: number, onComputed: () => void) => Promise<StepSum> {
  const { sumLength } = replica;
  const nameOf = (element: number) => replica.nameOf?.(element) ?? `element ${element}`;
  const buckets = cutBuckets(sumLength, bucketElements, exactValues);
  /** Where sums of several buckets are made. (sumLength) each */
  let arrays: Float32Array[] = [];
  const arraysOf = (subtrees: Share[]) =>
    arrays = subtrees.map((_, i) => arrays[i] ?? new Float32Array(new SharedArrayBuffer(4 * sumLength)));

  const reduceWhole = async (step: number, subtrees: Share[], signal: AbortSignal, parts: number) => {
    const bucket = await allreduce.open(step, 0, sumLength, exactValues);
    const stateHash = await replica.sums(subtrees, bucket.pieces, signal, { parts, final: bucket.final });
    const reduce = async () => [await bucket.reduce()];
    return { stateHash, sum: bucket.sum, release: () => bucket.release(), reduce };
  };
  const reduceCut = async (step: number, subtrees: Share[], signal: AbortSignal, parts: number) => {
    const pieces = arraysOf(subtrees);
    const [sum] = pieces;
    const whole = buckets.map(() => deferred<void>());
    const coverage = new Coverage(buckets, (bucket) => whole[bucket].resolve());
    const reduced = reduceArrays(
      ...[allreduce, step, bucketElements, pieces, sum, exactValues] as const,
      (bucket) => whole[bucket].promise,
    );
    reduced.catch(() => {}); // who asks for it sees it
    try {
      const final = (from: number, to: number) => coverage.add(from, to);
      const stateHash = await replica.sums(subtrees, pieces, signal, { parts, final });
      return { stateHash, sum, release: () => {}, reduce: () => reduced };
    } catch (error) {
      for (const { reject } of whole) reject(error);
      throw error;
    }
  };
  const sumOwn = buckets.length === 1 ? reduceWhole : reduceCut;

  return async ({ step, share }, signal, parts, onComputed) => {
    const begin = performance.now();
    const { stateHash, sum, release, reduce } = await sumOwn(
      step,
      subtreesOf(virtualWorkers, share),
      signal,
      parts,
    );
    signal.throwIfAborted();
    const workMs = performance.now() - begin;
    onComputed();
    const reduced = await reduce();
    reduced.forEach(({ nonFinite }, i) => rejectNonFinite(nonFinite, buckets[i].from, nameOf));
    return {
      sum,
      digests: reduced.map(({ digest }) => digest),
      stateHash: stateHash ?? undefined,
      workMs,
      slowest: allreduce.arrivals.slowest(step, begin + workMs),
      release,
    };
  };
}

/** Only the member that adds a part sees what is wrong with it. */
function rejectNonFinite(
  nonFinite: Reduced["nonFinite"],
  from: number,
  nameOf: (element: number) => string,
): void {
  if (nonFinite === null) return;
  const { element, member } = nonFinite;
  const where = `at ${nameOf(from + element)}`;
  if (member === null) throw new NotFiniteError(`A sum of finite values overflows float32 ${where}`);
  throw new ExchangeError(`A gradient of ${member} is not finite ${where}`, member);
}
