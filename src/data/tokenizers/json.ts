/** The tokenizer.json files that we write, as the tokenizers library (0.23) reads them. */

/** Oniguruma: one character of any kind, line ends included. */
export const EVERY_CHARACTER = "[\\s\\S]";

const COMMON = { version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: null };

/**
 * Byte-level BPE.
 *
 * @param tokens (vocabSize) the text of each id in GPT-2's byte alphabet
 * @param merges texts of left and right part, in order of rank
 * @param options splitWords: cut the text into words with GPT-2's pattern first
 */
export function byteLevelJson(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  { splitWords }: { splitWords: boolean },
): object {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: splitWords };
  return {
    ...COMMON,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

/** One token a character. The unknown token is not in the vocabulary, so the library refuses unknown characters too. */
export function charsJson(characters: readonly string[]): object {
  return {
    ...COMMON,
    pre_tokenizer: {
      type: "Split",
      pattern: { Regex: EVERY_CHARACTER },
      behavior: "Isolated",
      invert: false,
    },
    post_processor: null,
    decoder: { type: "Fuse" },
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(characters.map((character, id) => [character, id])),
      unk_token: "<unk>",
    },
  };
}
