/** What an axis can be, by axis. */
export type Axes = Readonly<Record<string, readonly unknown[]>>;

/** A value for each axis. */
export type Choice<A extends Axes> = { readonly [Name in keyof A]: A[Name][number] };

/**
 * Choices in which every two values of two different axes meet at least once: far fewer than all choices, and a mistake
 * in how two options work together shows as surely. Greedy: a choice begins with the first pair that is missing and
 * takes on each further axis the value that meets most of its missing pairs.
 *
 * @param makesSense of two values, whatever the others are; every axis must have a value that goes with all of the others'
 * @returns the same choices in the same order each time
 * @throws Error if an axis has no such value
 */
export function coverPairs<const A extends Axes>(
  axes: A,
  makesSense: (choice: Partial<Choice<A>>) => boolean,
): Choice<A>[] {
  const names = Object.keys(axes);
  const fits = (choice: Record<string, unknown>) => makesSense(choice as Partial<Choice<A>>);
  const key = (choice: Record<string, unknown>, a: string, b: string) => {
    return [a, b].map((name) => axes[name].indexOf(choice[name])).join() + ` ${a} ${b}`;
  };
  const missing = new Map<string, Record<string, unknown>>();
  names.forEach((a, i) => {
    for (const b of names.slice(i + 1)) {
      for (const x of axes[a]) {
        for (const y of axes[b]) {
          const pair = { [a]: x, [b]: y };
          if (fits(pair)) missing.set(key(pair, a, b), pair);
        }
      }
    }
  });

  const choices: Choice<A>[] = [];
  for (const [pair] of missing.values().map((pair) => [pair])) {
    let choice = pair;
    for (const name of names) {
      if (name in choice) continue;
      const candidates = axes[name].map((value) => ({ ...choice, [name]: value }))
        .filter((candidate) => pairsOf(candidate).every(fits));
      if (candidates.length === 0) throw new Error(`No ${name} goes with ${JSON.stringify(choice)}`);
      const met = candidates.map((candidate) => pairsIn(candidate, name).filter((at) => missing.has(at)).length);
      choice = candidates[met.indexOf(Math.max(...met))];
    }
    for (const name of names) for (const at of pairsIn(choice, name)) missing.delete(at);
    choices.push(choice as Choice<A>);
  }
  return choices;
}
