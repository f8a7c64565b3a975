import type { Share } from "./sum/shares.ts";

/** A state by the steps that made it, see messages.ts. */
export interface Applied {
  readonly step: number;
  readonly digest: string;
}

/**
 * A step has no sum, whoever computes it: a loss or gradient is not finite. All members leave it out where they can,
 * see `Replica.skip`.
 */
export class NotFiniteError extends Error {
  override readonly name = "NotFiniteError";
}

/** How the last of a member's pieces leaves: while the rest of it is still computed. */
export interface Departure {
  /** In so many parts, about; 1: as a whole. */
  readonly parts: number;
  /** Says that values [from, to) of the piece are what they will be: each value once, all of them by the end. */
  final(from: number, to: number): void;
}

/** What a member trains, as the network sees it: sums and states are numbers and bytes. Calls come one at a time. */
export interface Replica {
  /** Values of a step's sum. */
  readonly sumLength: number;
  /** The state as it is now. */
  readonly applied: Applied;
  /** Steps of the run. */
  readonly totalSteps: number;
  /** Step of the newest state on this process's own disk; 0 or absent: none. */
  readonly savedStep?: number;
  /** It has no state of its own to begin with, and gets another member's by `load`; `applied` is then no state's name. */
  readonly isBlank?: boolean;

  /**
   * Computes the sums over some virtual workers' samples of step `applied.step + 1`.
   *
   * @param pieces subtrees of the run's tree
   * @param into (sumLength) for each piece; shared memory, whose contents are of no use if this throws
   * @param departure is told of all values of the last piece, once all other pieces are complete
   * @returns a hash of the state that they were made from, taken when they were done: the same on all members whose states
   * are, see `ready` in messages.ts; nothing: it has none
   * @throws the signal's reason when the step is given up; NotFiniteError where there is `skip`
   */
  sums(
    pieces: readonly Share[],
    into: readonly Float32Array[],
    signal: AbortSignal,
    departure?: Departure,
  ): Promise<string | void>;
  /**
   * Updates the state with the sum of step `applied.step + 1` over all virtual workers.
   *
   * @param digest of the state after it
   * @param trainedMs what the step has taken so far, tries that were given up too; nobody was waited for meanwhile
   * @param isReplayed the others have made the sum: nothing that `sums` may have computed here is in it
   */
  apply(sum: Float32Array, digest: string, trainedMs: number, isReplayed?: boolean): Promise<void>;
  /**
   * Leaves step `applied.step + 1` out, all members alike: the state after it is the one before it, a step on. Absent:
   * steps can't be left out. @param digest of the state after it
   */
  skip?(digest: string): Promise<void>;
  /** What a value of a sum is called in messages. Absent: it has no name but its place. */
  nameOf?(element: number): string;
  /** A copy of the state that stays as it is while training goes on, in chunks of any length. */
  snapshot(): Promise<Snapshot>;
  /** Takes over another member's state. */
  load(applied: Applied, chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<void>;
  /**
   * Goes back to the newest checkpoint that verifies, or to the first weights.
   *
   * @param wrongFrom checkpoints from this step on may be wrong, and don't count from now on; none where `sums` returns no
   * hashes
   */
  restore(wrongFrom?: number): Promise<Applied>;
}

export interface Snapshot {
  readonly applied: Applied;
  readonly bytes: number;
  chunks(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}
