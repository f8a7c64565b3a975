/** A contiguous range of virtual workers; `to` is excluded. */
export interface Share {
  readonly from: number;
  readonly to: number;
}

/**
 * Which virtual workers the members of an epoch host: as many each as can be, or one more. Who has one more is chosen so
 * that shares begin where the tree has large subtrees, and are sums over few of them. A function of the order of the
 * members alone, so that the coordinator and all members compute the same.
 *
 * @returns one share a member, none of them empty
 * @throws Error if there are more members than virtual workers: the rest are spares and not in the epoch
 *
 * @example
 * ```ts
 * shareOut(8, 3); // [{ from: 0, to: 2 }, { from: 2, to: 5 }, { from: 5, to: 8 }]
 * ```
 */
export function shareOut(virtualWorkers: number, members: number): Share[] {
  if (members < 1 || members > virtualWorkers) {
    throw new Error(`${members} members, expected 1 to ${virtualWorkers}, one virtual worker each at least`);
  }
  const least = Math.floor(virtualWorkers / members);
  let larger = virtualWorkers % members;
  let from = 0;
  return Array.from({ length: members }, (_, k) => {
    const must = larger === members - k;
    const isLarger = larger > 0 && (must || alignment(from + least + 1) > alignment(from + least));
    if (isLarger) larger--;
    return { from, to: from += least + Number(isLarger) };
  });
}

/** The largest power of two by which a virtual worker's number can be divided. */
function alignment(worker: number): number {
  return worker & -worker;
}

/** Why some stand by. @param nodes of the group, of which as many work as there are virtual workers */
export function describeSharing(virtualWorkers: number, nodes: number): string {
  const workers = virtualWorkers === 1 ? "1 virtual worker is" : `${virtualWorkers} virtual workers are`;
  return `${workers} shared by ${nodes} nodes`;
}
