import { z } from "zod";
import { fromAlphabet } from "./byteAlphabet.ts";
import { byteFallbackDecoder, byteOf } from "./byteFallback.ts";
import { chain, type DecoderStage } from "./decoderStage.ts";
import { metaspaceDecoder } from "./metaspace.ts";
import { patternSchema, regExpOf } from "./oniguruma.ts";
import { type Decoding, decoding } from "./tokenizer.ts";
import type { Step, TokenizerFile } from "./tokenizerFile.ts";

/**
 * Makes the half of a tokenizer that turns ids into text.
 *
 * @param tokens (vocabSize)
 * @param special ids that may be left out
 */
export type DecodingOf = (tokens: readonly (string | undefined)[], special: ReadonlySet<number>) => Decoding;

const replaceSchema = z.object({ pattern: patternSchema, content: z.string() });
const stripSchema = z.object({ content: z.string(), start: z.int().min(0), stop: z.int().min(0) });

const stateless = (push: (token: string) => string): DecoderStage => () => ({ push, end: () => "" });

/** In the order of a sequence: what works on single tokens, on runs of them, fuses them, works on the text. */
const SCOPES = ["token", "run", "fuse", "text"] as const;

interface Decoder {
  readonly scope: typeof SCOPES[number];
  readonly read: (step: Step, file: TokenizerFile) => DecoderStage;
}

const DECODERS: Readonly<Record<string, Decoder>> = {
  Replace: {
    scope: "token",
    read(step, file) {
      const { pattern, content } = file.read(replaceSchema, step);
      const wanted = regExpOf(pattern, file);
      return stateless((token) => token.replaceAll(wanted, () => content));
    },
  },
  Metaspace: { scope: "token", read: metaspaceDecoder },
  ByteFallback: { scope: "run", read: () => byteFallbackDecoder },
  Fuse: { scope: "fuse", read: () => stateless((text) => text) },
  Strip: {
    scope: "text",
    read(step, file) {
      const { content, start, stop } = file.read(stripSchema, step);
      if (stop > 0) throw file.refuse(`a decoder Strip with stop ${stop}`);
      return ({ continues }) => {
        let left = continues ? 0 : start;
        const push = (text: string) => {
          let cut = 0;
          for (; left > 0 && text.startsWith(content, cut); left--) cut += content.length;
          if (cut < text.length) left = 0;
          return text.slice(cut);
        };
        return { push, end: () => "" };
      };
    },
  },
};

/** Reads a decoder. @throws UserError for a type that is not in the table, or steps in another order than that of scopes */
export function readDecoder(file: TokenizerFile): DecodingOf {
  const steps = file.flatten(file.json.decoder, "decoders");
  if (steps.length === 0) throw file.refuse("a decoder of type none");
  if (steps.length === 1 && steps[0].type === "ByteLevel") {
    return (tokens, special) =>
      decoding(tokens.map((token) => token === undefined ? token : fromAlphabet(token)), special);
  }
  const decoders = steps.map((step) => file.look(DECODERS, step, "decoder"));
  const scopes = decoders.map(({ scope }) => SCOPES.indexOf(scope));
  const isOrdered = scopes.every((scope, i) => i === 0 || scopes[i - 1] <= scope);
  if (!isOrdered || (decoders.at(-1)?.scope === "text" && !decoders.includes(DECODERS.Fuse))) {
    throw file.refuse(`a decoder of ${steps.map(({ type }) => type).join(", ")} in this order`);
  }
  const start = chain(decoders.map(({ read }, i) => read(steps[i], file)));
  const utf8 = new TextEncoder();

  const bytesOf = (token: string): Uint8Array => {
    const byte = decoders.includes(DECODERS.ByteFallback) ? byteOf(token) : null;
    if (byte !== null) return Uint8Array.of(byte);
    const { push, end } = start({ continues: true });
    return utf8.encode(push(token) + end());
  };
  return (tokens, special) => {
    const bytes = tokens.map((token) => token === undefined ? token : bytesOf(token));
    return decoding(bytes, special, (options = {}) => {
      const { push, end } = start(options);
      return { push: (id) => tokens[id] === undefined ? "" : push(tokens[id]), end };
    });
  };
}
