/** The candidate with the smallest distance to `word`; the first of several. Throws if there is none. */
export function nearest(
  word: string,
  candidates: readonly string[],
  distance: (a: string, b: string) => number = editDistance,
): string {
  if (candidates.length === 0) throw new Error("nearest() needs a candidate");
  const distances = candidates.map((candidate) => distance(word, candidate));
  return candidates[distances.indexOf(Math.min(...distances))];
}

/** Levenshtein's: how many characters to insert, delete or replace to get from `a` to `b`. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j); // row[j]: distance of a's first i characters to b's first j
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(row[j] + (a[i] === b[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1));
    }
    row = next;
  }
  return row[b.length];
}
