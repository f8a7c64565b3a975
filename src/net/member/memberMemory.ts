/** What a member takes of the host's memory, before it joins. */
import { HEADER_BYTES, MAX_PAYLOAD_BYTES } from "../link/frame.ts";
import { DEFAULT_WINDOW_BYTES } from "../link/link.ts";
import { exchangeBytes } from "../sum/exchangeMemory.ts";
import { cutBuckets, PART_ELEMENTS } from "../sum/partition.ts";
import { sharedBytes } from "../sum/reducer.ts";
import { shareOut } from "../sum/shares.ts";
import { queueBytes } from "../sum/sumQueue.ts";
import { planSum } from "../sum/tree.ts";
import { isRounded, type WireTypes } from "../sum/wireTypes.ts";
import { keptSums } from "./committedSums.ts";
import { bucketElementsOf, openBuckets } from "./stepSum.ts";

/** Bytes. */
export interface MemberMemory {
  /** The partial sums of its share, what it gets of others', and the sum. */
  readonly sums: number;
  /** Frames on their way to and from the others, at most. */
  readonly links: number;
  /** While another member copies its state from this one: sums for that to catch up with, at most. The copy comes on top. */
  readonly newcomer: number;
}

/** How a member's sums travel; the defaults are those of a member. */
export interface SumTravel {
  readonly bucketElements?: number;
  readonly wire?: WireTypes;
  /** At the end of a sum, never rounded. */
  readonly exactValues?: number;
}

/** Between two members: one link that each of them has dialled. */
const LINKS_A_PEER = 2;
/** The buffer from which frames are sent, and a window of data that has left or come and was not dealt with. */
const LINK_BYTES = HEADER_BYTES + MAX_PAYLOAD_BYTES + DEFAULT_WINDOW_BYTES;

/**
 * The memory of the member with the largest share.
 *
 * @param sumLength values of a step's sum
 * @param members that take part; at most `virtualWorkers`, others stand by
 */
export function memberMemory(
  sumLength: number,
  virtualWorkers: number,
  members: number,
  travel: SumTravel = {},
): MemberMemory {
  const { bucketElements = bucketElementsOf(sumLength), wire = {} } = travel;
  const exactValues = isRounded(wire) ? travel.exactValues ?? 0 : 0;
  const ids = Array.from({ length: Math.min(members, virtualWorkers) }, (_, index) => `${index}`);
  const plan = planSum(virtualWorkers, shareOut(virtualWorkers, ids.length));
  const { pieceType = "f32", sumType = "f32" } = wire;
  const isCut = cutBuckets(sumLength, bucketElements, exactValues).length > 1;
  const open = openBuckets(sumLength, bucketElements, exactValues);
  const sums = ids.map((_, self) => {
    const layout = { members: ids, self, plan, pieceType, sumType, partElements: PART_ELEMENTS };
    const arena = open * exchangeBytes(layout, bucketElements + exactValues, exactValues);
    const pieces = plan.pieces.filter(({ member }) => member === self).length;
    // sums of several buckets are made in arrays of their own
    const arrays = isCut ? 4 * sumLength * pieces : 0;
    return sharedBytes(virtualWorkers, arena) + arrays + queueBytes(virtualWorkers);
  });
  return {
    sums: Math.max(...sums),
    links: (ids.length - 1) * LINKS_A_PEER * LINK_BYTES,
    newcomer: 4 * sumLength * keptSums(sumLength),
  };
}

/** Virtual workers of the largest sum that a member makes alone. */
export function largestPiece(virtualWorkers: number, members: number): number {
  const { pieces } = planSum(virtualWorkers, shareOut(virtualWorkers, Math.min(members, virtualWorkers)));
  return Math.max(...pieces.map(({ from, to }) => to - from));
}
