/**
 * SentencePiece's normalization table (`precompiled_charsmap`): the size of a trie in bytes, the trie, and the texts that
 * its values point to, each ended by a zero. The trie is Darts-clone's double array: a node's child for a byte is at the
 * node's offset XOR that byte, and is one if its label is the byte.
 */

const label = (unit: number) => unit & 0x800000ff;
const hasLeaf = (unit: number) => (unit & 0x100) !== 0;
const value = (unit: number) => unit & 0x7fffffff;
const offset = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);

/** Distinct graphemes that are remembered. */
const CACHED = 1 << 16;

/**
 * A text as the table writes it, with the results of Hugging Face's tokenizers library: a grapheme of fewer than 6 bytes
 * that starts with an entry becomes what the shortest such entry says; any other goes character by character.
 *
 * @returns null if the table is damaged
 */
export function precompiledNormalizer(base64: string): ((text: string) => string) | null {
  const table = parse(base64);
  if (table === null) return null;
  const { units, texts } = table;
  const utf8Encoder = new TextEncoder();
  const utf8Decoder = new TextDecoder();

  /** What stands for the shortest prefix that is an entry. */
  function transform(bytes: Uint8Array): string | null {
    let node = offset(units[0]);
    for (const byte of bytes) {
      node ^= byte;
      const unit = units[node] ?? 0;
      if (byte === 0 || label(unit) !== byte) return null;
      node ^= offset(unit);
      if (hasLeaf(unit)) {
        const start = value(units[node]);
        return utf8Decoder.decode(texts.subarray(start, texts.indexOf(0, start)));
      }
    }
    return null;
  }

  function normalizeGrapheme(grapheme: string): string {
    const bytes = utf8Encoder.encode(grapheme);
    const whole = bytes.length < 6 ? transform(bytes) : null;
    if (whole !== null) return whole;
    return Array.from(grapheme, (character) => transform(utf8Encoder.encode(character)) ?? character).join(
      "",
    );
  }

  const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
  const cache = new Map<string, string>();
  return (text) => {
    let out = "";
    for (const { segment } of graphemes.segment(text)) {
      let normalized = cache.get(segment);
      if (normalized === undefined) {
        normalized = normalizeGrapheme(segment);
        if (cache.size >= CACHED) cache.clear();
        cache.set(segment, normalized);
      }
      out += normalized;
    }
    return out;
  };
}

function parse(base64: string): { units: Uint32Array; texts: Uint8Array } | null {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
  if (bytes.length < 8) return null;
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  if (size < 4 || size % 4 !== 0 || 4 + size >= bytes.length || bytes.at(-1) !== 0) return null;
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  return { units, texts: bytes.subarray(4 + size) };
}
