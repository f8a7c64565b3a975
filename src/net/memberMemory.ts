/** What a member takes of the host's memory, before it joins. */
import { keptSums } from "./committedSums.ts";
import { exchangeBytes } from "./exchange.ts";
import { HEADER_BYTES, MAX_PAYLOAD_BYTES } from "./frame.ts";
import { DEFAULT_WINDOW_BYTES } from "./link.ts";
import { sharedBytes } from "./reducer.ts";
import { shareOut } from "./shares.ts";
import { bucketElementsOf, openBuckets } from "./stepSum.ts";
import { planSum } from "./tree.ts";

/** Bytes. */
export interface MemberMemory {
  /** The partial sums of its share, what it gets of others', and the sum. */
  readonly sums: number;
  /** Frames on their way to and from the others, at most. */
  readonly links: number;
  /** While another member copies its state from this one: sums for that to catch up with, at most. The copy comes on top. */
  readonly newcomer: number;
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
  bucketElements = bucketElementsOf(sumLength),
): MemberMemory {
  const ids = Array.from({ length: Math.min(members, virtualWorkers) }, (_, index) => `${index}`);
  const plan = planSum(virtualWorkers, shareOut(virtualWorkers, ids.length));
  const open = openBuckets(sumLength, bucketElements);
  const sums = ids.map((_, self) => {
    const arena = open * exchangeBytes({ members: ids, self, plan }, bucketElements);
    const pieces = plan.pieces.filter(({ member }) => member === self).length;
    // longer sums are made in arrays of their own, and exchanged in buckets
    return sharedBytes(virtualWorkers, arena) + (bucketElements < sumLength ? 4 * sumLength * pieces : 0);
  });
  return {
    sums: Math.max(...sums),
    links: (ids.length - 1) * LINKS_A_PEER * LINK_BYTES,
    newcomer: 4 * sumLength * keptSums(sumLength),
  };
}
