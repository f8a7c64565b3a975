import { type AddedToken, addedTokenSplitter } from "./addedTokens.ts";
import { CHARACTERS, fromAlphabet, toAlphabet } from "./byteAlphabet.ts";
import { mergeFunction } from "./merge.ts";
import type { PreTokenizer } from "./preTokenizer.ts";
import { decoding, type Tokenizer } from "./tokenizer.ts";

/** What makes a byte-level BPE; `load.ts` reads it from a tokenizer.json. */
export interface BpeParts {
  /** Text in the byte alphabet to id. Holds all 256 bytes, and both parts and the result of every merge. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Texts of left and right part, in order of rank. */
  readonly merges: readonly (readonly [left: string, right: string])[];
  readonly addedTokens: readonly AddedToken[];
  readonly normalize: (text: string) => string;
  readonly preTokenizer: PreTokenizer;
  /** Matches an index between a character and white space across which no piece ever goes. */
  readonly boundary: RegExp;
  /** A piece that is a token as a whole is taken so, whatever the merges say. */
  readonly ignoreMerges: boolean;
  readonly json: object;
}

/** Pieces of at most this many UTF-16 units are remembered, and at most so many of them. */
const CACHED_LENGTH = 64;
const CACHED_PIECES = 1 << 16;

/** Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), with the results of Hugging Face's tokenizers library. */
export function bpeTokenizer(parts: BpeParts): Tokenizer {
  const { vocabulary, addedTokens, normalize, preTokenizer } = parts;
  const bytes: Uint8Array[] = []; // (vocabSize), with holes where the file has them
  for (const [text, id] of vocabulary) bytes[id] = fromAlphabet(text);
  for (const { id, content } of addedTokens) bytes[id] = fromAlphabet(content);

  const idOf = (text: string) => vocabulary.get(text)!;
  const byteIds = Int32Array.from(CHARACTERS, idOf); // (256)
  const merge = mergeFunction(
    parts.merges.map(([left, right]) => [idOf(left), idOf(right), idOf(left + right)]),
  );
  const splitRaw = addedTokenSplitter(addedTokens.filter((token) => !token.normalized));
  const splitNormalized = addedTokenSplitter(
    addedTokens.filter((token) => token.normalized)
      .map((token) => ({ ...token, content: normalize(token.content) })),
  );
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  const end = addedTokens.find(({ content }) => /^(<\|endoftext\|>|<\/s>|<\|end_of_text\|>)$/.test(content));
  const utf8Encoder = new TextEncoder();
  const utf8Decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const cache = new Map<string, Int32Array>();

  function encodePiece(piece: string): Int32Array {
    const known = cache.get(piece);
    if (known !== undefined) return known;
    const utf8 = utf8Encoder.encode(piece);
    const whole = parts.ignoreMerges ? vocabulary.get(toAlphabet(utf8)) : undefined;
    const ids = whole === undefined
      ? merge(Int32Array.from(utf8, (byte) => byteIds[byte]))
      : Int32Array.of(whole);
    if (piece.length <= CACHED_LENGTH) {
      if (cache.size >= CACHED_PIECES) cache.clear();
      // A copy, because a piece is a view that would keep the whole text alive.
      cache.set(utf8Decoder.decode(utf8), ids);
    }
    return ids;
  }

  return {
    kind: "bpe",
    vocabSize: bytes.length,
    endOfText: end?.id ?? null,
    ...decoding(bytes, special),
    encode(text) {
      const out = new IdList();
      for (const raw of splitRaw(text)) {
        if (typeof raw === "number") {
          out.push(raw);
          continue;
        }
        for (const stretch of splitNormalized(normalize(raw))) {
          if (typeof stretch === "number") out.push(stretch);
          else for (const piece of preTokenizer(stretch)) out.append(encodePiece(piece));
        }
      }
      return out.toArray();
    },
    lastBoundary(text) {
      for (let i = text.length - 1; i > 0; i--) {
        if (parts.boundary.test(text.slice(i - 1, i + 1))) return i;
      }
      return 0;
    },
    toJSON: () => parts.json,
  };
}

/** A list of ids that grows. */
class IdList {
  #ids = new Int32Array(1024);
  #length = 0;

  push(id: number): void {
    if (this.#length === this.#ids.length) this.#grow(1);
    this.#ids[this.#length++] = id;
  }

  append(ids: Int32Array): void {
    if (this.#length + ids.length > this.#ids.length) this.#grow(ids.length);
    this.#ids.set(ids, this.#length);
    this.#length += ids.length;
  }

  #grow(extra: number): void {
    const larger = new Int32Array(Math.max(2 * this.#ids.length, this.#length + extra));
    larger.set(this.#ids);
    this.#ids = larger;
  }

  toArray(): Int32Array {
    return this.#ids.slice(0, this.#length);
  }
}
