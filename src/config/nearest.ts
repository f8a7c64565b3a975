/**
 * The candidate that `word` is most likely a misspelling of; the first of several. null: none is near. Near are two
 * edits (one in a word of up to four letters), in long words as many as a third of the letters.
 *
 * @param spelling the part of a candidate that is compared
 */
export function nearest(
  word: string,
  candidates: readonly string[],
  spelling: (candidate: string) => string = (candidate) => candidate,
): string | null {
  let fewest = Math.max(word.length > 4 ? 2 : 1, Math.floor(word.length / 3)) + 1;
  let best: string | null = null;
  for (const candidate of candidates) {
    const edits = editDistance(word, spelling(candidate));
    if (edits < fewest) [fewest, best] = [edits, candidate];
  }
  return best;
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
