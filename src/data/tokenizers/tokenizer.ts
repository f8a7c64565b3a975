/**
 * Text to token ids and back. Four kinds: bytes, chars, BPE and Unigram; all are read from and saved as the
 * `tokenizer.json` of Hugging Face's tokenizers library, which then gives the same ids.
 */
export interface Tokenizer {
  readonly kind: "bytes" | "chars" | "bpe" | "unigram";
  /** The largest id + 1. */
  readonly vocabSize: number;
  /** The id of `<|endoftext|>` or its like, if the vocabulary has one. */
  readonly endOfText: number | null;
  /** The ids of `<extra_id_0>`, `<extra_id_1>`, ..., with which T5 marks masked spans; none if there are none. */
  readonly sentinels: readonly number[];
  /** What a model expects around a text that it is given, such as LLaMA's `<s>`. `encode` doesn't add it. */
  readonly frame: Frame;
  /** Throws UserError for a character outside of the vocabulary of `chars`; the other kinds know every text. */
  encode(text: string): Int32Array; // (N)
  /** Ids outside of the vocabulary are left out; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
  /** For ids that come one by one. */
  decoder(options?: DecoderOptions): StreamingDecoder;
  /** What a token stands for in the middle of a text, in UTF-8; may be a part of a character. */
  bytesOf(id: number): Uint8Array;
  /** The largest index at which `text` can be cut so that, whatever follows, the parts have the tokens of the whole; 0: none. */
  lastBoundary(text: string): number;
  /** The tokenizer.json. */
  toJSON(): object;
}

/** Ids to put around those of a text. */
export interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

export const NO_FRAME: Frame = { before: [], after: [] };

export interface DecoderOptions {
  /** The ids go on from earlier ones, so that the space before their first word counts. Default: they start a text. */
  readonly continues?: boolean;
}

/** Holds back a character until its last byte has come. */
export interface StreamingDecoder {
  /** The text that became complete with this token. */
  push(id: number): string;
  /** What was held back: U+FFFD if the last character never became complete. */
  end(): string;
}

const NOTHING = new Uint8Array(0);

/** The half of a tokenizer that turns ids into text. */
export type Decoding = Pick<Tokenizer, "bytesOf" | "decode" | "decoder">;

/**
 * Decodes ids.
 *
 * @param bytes (vocabSize) the bytes of every token
 * @param decoder how ids that come one by one become text; by default their bytes, one after the other, are UTF-8
 */
export function decoding(
  bytes: readonly (Uint8Array | undefined)[],
  special: ReadonlySet<number> = new Set(),
  decoder: Tokenizer["decoder"] = () => utf8Decoder(bytes),
): Decoding {
  const decode: Tokenizer["decode"] = (ids, { skipSpecial = false } = {}) => {
    const streaming = decoder();
    const parts: string[] = [];
    for (const id of ids) if (!skipSpecial || !special.has(id)) parts.push(streaming.push(id));
    parts.push(streaming.end());
    return parts.join("");
  };
  return { bytesOf: (id) => bytes[id] ?? NOTHING, decode, decoder };
}

function utf8Decoder(bytes: readonly (Uint8Array | undefined)[]): StreamingDecoder {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  return { push: (id) => utf8.decode(bytes[id] ?? NOTHING, { stream: true }), end: () => utf8.decode() };
}

/** The end of `text`, or one before it if that would cut a surrogate pair. */
export function wholeCharacters(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last < 0xdc00 ? text.length - 1 : text.length;
}

/**
 * The UTF-8 bytes that `ids` stand for together.
 *
 * @param marks ids that stand for none here, although they have a name
 */
export function countBytes(
  tokenizer: Tokenizer,
  ids: Iterable<number>,
  marks: readonly number[] = [],
): number {
  const isMark = new Set(marks);
  let count = 0;
  for (const id of ids) if (!isMark.has(id)) count += tokenizer.bytesOf(id).length;
  return count;
}
