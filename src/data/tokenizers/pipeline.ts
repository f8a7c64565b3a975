import { type AddedToken, addedTokenSplitter } from "./addedTokens.ts";
import type { SubwordModel } from "./bpe.ts";
import { toAlphabet } from "./byteAlphabet.ts";
import { IdList } from "./idList.ts";
import type { DecodingOf } from "./readDecoder.ts";
import type { Normalizer } from "./readNormalizer.ts";
import type { Pieces } from "./readPreTokenizer.ts";
import type { Frame, Tokenizer } from "./tokenizer.ts";

/** What makes a tokenizer of subwords; `load.ts` reads it from a tokenizer.json. */
export interface PipelineParts {
  readonly kind: Tokenizer["kind"];
  /** (vocabSize) the tokens, with holes where the file has them. */
  readonly tokens: readonly (string | undefined)[];
  readonly addedTokens: readonly AddedToken[];
  readonly normalizer: Normalizer;
  readonly pieces: Pieces;
  readonly model: SubwordModel;
  readonly decodingOf: DecodingOf;
  readonly frame: Frame;
  readonly json: object;
}

/** Pieces of at most this many UTF-16 units are remembered, and at most so many of them. */
const CACHED_LENGTH = 64;
const CACHED_PIECES = 1 << 16;

/**
 * The way of Hugging Face's tokenizers library: added tokens are taken out, what lies between them is normalized and cut
 * into pieces, and the model has ids for each.
 */
export function pipelineTokenizer(parts: PipelineParts): Tokenizer {
  const { normalizer: { normalize, isLocal }, pieces, model } = parts;
  const addedTokens = parts.addedTokens.map((token) => {
    return token.normalized ? { ...token, content: normalize(token.content) } : token;
  });
  const tokens = [...parts.tokens];
  for (const { id, content } of addedTokens) tokens[id] = content;
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  const end = parts.addedTokens.find(({ content }) =>
    /^(<\|endoftext\|>|<\/s>|<\|end_of_text\|>)$/.test(content)
  );
  const boundary = isLocal ? pieces.boundary : null;

  const splitRaw = addedTokenSplitter(addedTokens.filter((token) => !token.normalized));
  const splitNormalized = addedTokenSplitter(addedTokens.filter((token) => token.normalized));
  const utf8Encoder = new TextEncoder();
  const utf8Decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const cache = new Map<string, Int32Array>();

  function encodePiece(piece: string): Int32Array {
    const known = cache.get(piece);
    if (known !== undefined) return known;
    const utf8 = utf8Encoder.encode(piece);
    const ids = model(pieces.isByteLevel ? toAlphabet(utf8) : piece);
    if (piece.length <= CACHED_LENGTH) {
      if (cache.size >= CACHED_PIECES) cache.clear();
      // A copy, because a piece is a view that would keep the whole text alive.
      cache.set(utf8Decoder.decode(utf8), ids);
    }
    return ids;
  }

  return {
    kind: parts.kind,
    vocabSize: tokens.length,
    endOfText: end?.id ?? null,
    sentinels: sentinelsOf(parts.addedTokens),
    frame: parts.frame,
    ...parts.decodingOf(tokens, special),
    encode(text) {
      const out = new IdList();
      let isFirst = true;
      for (const raw of splitRaw(text.toWellFormed())) {
        const stretches = typeof raw === "number" ? [raw] : splitNormalized(normalize(raw));
        for (const stretch of stretches) {
          if (typeof stretch === "number") out.push(stretch);
          else for (const piece of pieces.cut(stretch, isFirst)) out.append(encodePiece(piece));
          isFirst = false;
        }
      }
      return out.toArray();
    },
    lastBoundary(text) {
      for (let i = text.length - 1; boundary !== null && i > 0; i--) {
        if (boundary.test(text.slice(i - 1, i + 1))) return i;
      }
      return 0;
    },
    toJSON: () => parts.json,
  };
}

/** T5's, up to the first number that is missing. */
function sentinelsOf(tokens: readonly AddedToken[]): number[] {
  const ids = new Map(tokens.map(({ content, id }) => [content, id]));
  const sentinels: number[] = [];
  for (let id; (id = ids.get(`<extra_id_${sentinels.length}>`)) !== undefined;) sentinels.push(id);
  return sentinels;
}
