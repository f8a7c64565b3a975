import { Stream, uniform } from "../../src/random.ts";

/** The values of each axis. */
export type Axes = Readonly<Record<string, readonly unknown[]>>;

/** A value for each axis. */
export type Choice<A extends Axes> = { readonly [Name in keyof A]: A[Name][number] };

/**
 * Choices in which any two values of two axes meet at least once, wherever they may: a covering array of strength 2.
 * Greedy (after Cohen et al. 1997, "The AETG system"): a choice begins with a pair that is missing, then each further
 * axis takes a value that adds most missing pairs, by lot where several do.
 *
 * @param makesSense of the values that are chosen so far; a choice that makes sense can always be completed
 * @returns the same choices in the same order each time
 */
export function coverPairs<const A extends Axes>(
  axes: A,
  makesSense: (choice: Partial<Choice<A>>) => boolean,
): Choice<A>[] {
  type Part = Partial<Choice<A>>;
  const names: (keyof A)[] = Object.keys(axes);
  const withValues = (part: Part, name: keyof A): Part[] =>
    axes[name].map((value) => ({ ...part, [name]: value })).filter(makesSense);
  const pairsOf = (part: Part): string[] => {
    const chosen = names.filter((name) => Object.hasOwn(part, name));
    return chosen.flatMap((a, i) => chosen.slice(i + 1).map((b) => JSON.stringify([a, part[a], b, part[b]])));
  };
  const missing = new Map(
    names.flatMap((a, i) => withValues({}, a).flatMap((part) => names.slice(i + 1).map((b) => ({ part, b }))))
      .flatMap(({ part, b }) => withValues(part, b))
      .map((pair) => [pairsOf(pair)[0], pair]),
  );
  const choices: Choice<A>[] = [];
  for (const pair of missing.values()) {
    const choice = names.filter((name) => !Object.hasOwn(pair, name)).reduce((part, name) => {
      const candidates = withValues(part, name);
      const met = candidates.map((candidate) => pairsOf(candidate).filter((key) => missing.has(key)).length);
      const best = candidates.filter((_, i) => met[i] === Math.max(...met));
      const draw = uniform(1, Stream.test, choices.length, names.indexOf(name));
      return best[Math.floor(draw * best.length)];
    }, pair);
    for (const key of pairsOf(choice)) missing.delete(key);
    choices.push(choice as Choice<A>);
  }
  return choices;
}
