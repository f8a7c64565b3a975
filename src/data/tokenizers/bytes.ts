import { CHARACTERS } from "./byteAlphabet.ts";
import { byteLevelJson } from "./json.ts";
import { decoding, NO_FRAME, type Tokenizer, wholeCharacters } from "./tokenizer.ts";

/**
 * UTF-8 bytes as tokens: the id is the byte. Saved as a byte-level BPE without merges.
 *
 * @example
 * ```ts
 * bytesTokenizer().encode("hé"); // 104, 195, 169
 * ```
 */
export function bytesTokenizer(): Tokenizer {
  const json = byteLevelJson(CHARACTERS, [], { splitWords: false });
  return {
    kind: "bytes",
    vocabSize: 256,
    endOfText: null,
    sentinels: [],
    frame: NO_FRAME,
    ...decoding(CHARACTERS.map((_, byte) => Uint8Array.of(byte))),
    encode: (text) => Int32Array.from(new TextEncoder().encode(text)),
    lastBoundary: wholeCharacters,
    toJSON: () => json,
  };
}
