/**
 * The candidate that `word` is most likely a misspelling of; the first of several. null: none is near. Near are two
 * edits (one in a word of up to four letters), in long words as many as a third of the letters; failing that, whatever
 * has the word, of three letters at least, as a part of it. Case is no difference.
 *
 * @param spelling the part of a candidate that is compared
 */
export function nearest(
  word: string,
  candidates: readonly string[],
  spelling: (candidate: string) => string = (candidate) => candidate,
): string | null {
  const wanted = word.toLowerCase();
  let fewest = Math.max(word.length > 4 ? 2 : 1, Math.floor(word.length / 3)) + 1;
  let best: string | null = null;
  for (const candidate of candidates) {
    const edits = editDistance(wanted, spelling(candidate).toLowerCase());
    if (edits < fewest) [fewest, best] = [edits, candidate];
  }
  if (best !== null || word.length < 3) return best;
  return candidates.find((candidate) => spelling(candidate).toLowerCase().includes(wanted)) ?? null;
}

/** What to say to who gave a word that is none of the candidates: the nearest of them or, where none is near, all. */
export function hintNearest(word: string, candidates: readonly string[]): string {
  const near = nearest(word, candidates);
  if (near !== null) return `the nearest known one is ${near}`;
  return `expected ${candidates.length > 1 ? "one of " : ""}${candidates.join(", ")}`;
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
