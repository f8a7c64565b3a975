import { Heap } from "./heap.ts";

// A candidate is one number, rank * POSITIONS + position: the smallest is the lowest rank, of these the leftmost.
const POSITIONS = 2 ** 31;

/**
 * The merging of one piece by BPE: again and again the pair of lowest rank, of these the leftmost. A heap of
 * candidates over a linked list, so that n symbols take O(n log n).
 *
 * @param merges ids of left part, right part and result, in order of rank
 */
export function mergeFunction(
  merges: readonly (readonly [left: number, right: number, result: number])[],
): (symbols: Int32Array) => Int32Array {
  const results = Int32Array.from(merges, ([, , result]) => result); // (merges)
  const factor = merges.reduce((largest, [, right]) => Math.max(largest, right), 0) + 1;
  const ranks = new Map<number, number>();
  // Of a pair that is there twice, the later rank holds, as in the library.
  merges.forEach(([left, right], rank) => ranks.set(left * factor + right, rank));

  return (symbols) => {
    const n = symbols.length;
    const ids = symbols.slice(); // (n)
    const next = Int32Array.from(ids, (_, i) => i + 1); // (n) n: none
    const previous = Int32Array.from(ids, (_, i) => i - 1); // (n) -1: none
    const candidates = new Heap<number>((a, b) => a < b);
    const rankAt = (at: number): number | undefined =>
      next[at] < n && ids[next[at]] < factor ? ranks.get(ids[at] * factor + ids[next[at]]) : undefined;
    const offer = (at: number) => {
      const rank = rankAt(at);
      if (rank !== undefined) candidates.push(rank * POSITIONS + at);
    };

    for (let i = 0; i + 1 < n; i++) offer(i);
    for (let top = candidates.pop(); top !== undefined; top = candidates.pop()) {
      const at = top % POSITIONS;
      const result = results[(top - at) / POSITIONS];
      const rank = ids[at] < 0 ? undefined : rankAt(at);
      if (rank === undefined || results[rank] !== result) continue; // merged away since it was offered
      const right = next[at];
      ids[at] = result;
      ids[right] = -1;
      next[at] = next[right];
      if (next[at] < n) previous[next[at]] = at;
      if (previous[at] >= 0) offer(previous[at]);
      offer(at);
    }
    return ids.filter((id) => id >= 0);
  };
}
