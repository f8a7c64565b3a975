import { UserError } from "../../errors.ts";
import { charsJson } from "./json.ts";
import { decoding, NO_FRAME, type Tokenizer, wholeCharacters } from "./tokenizer.ts";

/**
 * Characters (Unicode code points) as tokens. Saved as a WordLevel model whose pre-tokenizer splits every character.
 *
 * @param characters (vocabSize) the character of each id
 */
export function charsTokenizer(characters: readonly string[]): Tokenizer {
  const ids = new Map(characters.map((character, id) => [character.codePointAt(0), id]));
  const utf8 = new TextEncoder();
  const json = charsJson(characters);
  return {
    kind: "chars",
    vocabSize: characters.length,
    endOfText: null,
    sentinels: [],
    frame: NO_FRAME,
    ...decoding(characters.map((character) => utf8.encode(character))),
    encode(text) {
      const out = new Int32Array(text.length); // (N), N known once surrogate pairs are counted
      let count = 0;
      for (let i = 0; i < text.length; i++) {
        const code = text.codePointAt(i)!;
        const id = ids.get(code);
        if (id === undefined) throw unknownCharacter(code, i, characters.length);
        out[count++] = id;
        if (code > 0xffff) i++;
      }
      return out.slice(0, count);
    },
    lastBoundary: wholeCharacters,
    toJSON: () => json,
  };
}

/** The vocabulary of all characters of a text, in order of code point. */
export function trainChars(text: string): Tokenizer {
  const codes = new Set<number>();
  for (const character of text) codes.add(character.codePointAt(0)!);
  return charsTokenizer([...codes].sort((a, b) => a - b).map((code) => String.fromCodePoint(code)));
}

function unknownCharacter(code: number, at: number, size: number): UserError {
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return new UserError(
    `Character ${
      JSON.stringify(String.fromCodePoint(code))
    } (${name}) at position ${at} is not among the ${size} ` +
      "characters that this tokenizer was made from: leave it out, or train with tokenizer=bytes or tokenizer=bpe",
  );
}
