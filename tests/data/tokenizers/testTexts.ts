import { Stream, uniform } from "../../../src/random.ts";

// Scripts, signs, combining marks, white space that JavaScript and Unicode see differently, astral planes.
const ALPHABET = [..."aZ09 .,'\"_-\n\r\t\u0085\ufeff\u00a0\u3000éßñΩЖ́שع日本한🙂👍🏽\u{1d54f}\u0000\u007f"];

/** A text of `length` characters, a function of its number. */
export function randomText(number: number, length: number): string {
  return Array.from(
    { length },
    (_, i) => ALPHABET[Math.floor(uniform(1, Stream.test, number, i) * ALPHABET.length)],
  ).join("");
}

/** Texts of 0 to 40 characters. */
export const RANDOM_TEXTS: readonly string[] = Array.from({ length: 41 }, (_, i) => randomText(i, i));

export const ENGLISH = `It's the tokenizer's job to cut a text into tokens; the text's tokens aren't words.
\tThe low, the lower and the lowest of them all: low low low, lower lower, newest newest newest, widest.
    We'll see what they've seen: 1234 and 567.89, and "quotes" -- naïve café  déjà-vu.   \n\n`;
