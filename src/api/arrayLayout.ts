/** How named arrays lie in one vector. */
import { UserError } from "../errors.ts";

/** Values of each array, by its name. */
export type ArrayLengths = Readonly<Record<string, number>>;
/** One for each name, as long as it says. */
export type Arrays<A extends ArrayLengths> = { readonly [Name in keyof A]: Float32Array };

export interface ArrayLayout<A extends ArrayLengths> {
  /** Values of all arrays together. */
  readonly length: number;
  /** The same for the same names and lengths, in whatever order they were given. */
  readonly text: string;
  /** The arrays in a vector of all values, which they share. (length) */
  split(vector: Float32Array): Arrays<A>;
  /** What a value of such a vector is called: `clicks[7]`. */
  nameOf(element: number): string;
}

/** @throws UserError for no array, or a length that is none */
export function layOutArrays<A extends ArrayLengths>(lengths: A): ArrayLayout<A> {
  const entries = Object.entries(lengths).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, length] of entries) {
    if (!Number.isSafeInteger(length) || length < 1) {
      throw new UserError(
        `The array ${JSON.stringify(name)} has length ${length}, expected a whole number from 1`,
      );
    }
  }
  if (entries.length === 0) throw new UserError("Found no array to sum, expected one at least");
  let length = 0;
  const places = entries.map(([name, size]) => ({ name, from: length, to: length += size }));
  return {
    length,
    text: JSON.stringify(entries),
    split: (vector) =>
      // the names are A's
      Object.fromEntries(places.map(({ name, from, to }) => [name, vector.subarray(from, to)])) as Arrays<A>,
    nameOf: (element) => {
      const { name, from } = places.findLast(({ from }) => from <= element)!; // the first begins at 0
      return `${name}[${element - from}]`;
    },
  };
}

/** The first value that is infinite or NaN, in words; null: there is none. */
export function whyNotFinite<A extends ArrayLengths>(
  layout: ArrayLayout<A>,
  vector: Float32Array,
): string | null {
  const at = vector.findIndex((value) => !Number.isFinite(value));
  return at < 0 ? null : `${layout.nameOf(at)} is ${vector[at]}`;
}
