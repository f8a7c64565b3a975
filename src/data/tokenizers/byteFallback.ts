/** Tokens `<0x00>` to `<0xFF>`, which spell characters that the vocabulary lacks. */
import type { DecoderStage } from "./decoderStage.ts";

const utf8Encoder = new TextEncoder();

/** (256) the id of each byte's token, where the vocabulary has one. */
export function byteIds(vocabulary: ReadonlyMap<string, number>): (number | undefined)[] {
  return Array.from({ length: 256 }, (_, byte) => {
    return vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  });
}

/** A function that spells a text in byte tokens; null: the vocabulary lacks some of them. */
export function byteSpeller(vocabulary: ReadonlyMap<string, number>): (text: string) => number[] | null {
  const ids = byteIds(vocabulary);
  return (text) => {
    const out: number[] = [];
    for (const byte of utf8Encoder.encode(text)) {
      const id = ids[byte];
      if (id === undefined) return null;
      out.push(id);
    }
    return out;
  };
}

/** The byte that a token stands for; null: it is no byte token. */
export function byteOf(token: string): number | null {
  const digits = /^<0x([0-9a-fA-F]{2})>$/.exec(token)?.[1];
  return digits === undefined ? null : parseInt(digits, 16);
}

/** Writes the text of each run of byte tokens, or one U+FFFD a byte if the run as a whole is no UTF-8. */
export const byteFallbackDecoder: DecoderStage = () => {
  let run: number[] = [];
  const flush = () => {
    const text = run.length === 0 ? "" : textOf(Uint8Array.from(run));
    run = [];
    return text;
  };
  return {
    push(token) {
      const byte = byteOf(token);
      if (byte === null) return flush() + token;
      run.push(byte);
      return "";
    },
    end: flush,
  };
};

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
