import type { Tokenizer } from "./tokenizers/tokenizer.ts";

/** Ends a document within a text, where the tokenizer has no token of its own for that. */
const END_OF_TEXT = "<|endoftext|>";

/**
 * Tokenizes a text document by document, so that no token is part of two.
 *
 * A document ends where a file ends, and after every `<|endoftext|>` (or what the tokenizer has for it).
 *
 * @param fileStarts UTF-16 units at which a file starts, ascending
 * @returns the tokens of each document, at least one
 */
export function encodeDocuments(
  tokenizer: Tokenizer,
  text: string,
  fileStarts: readonly number[],
): Int32Array[] {
  const { endOfText } = tokenizer;
  const marker = endOfText === null ? END_OF_TEXT : tokenizer.decode([endOfText]);
  const bounds = [0, ...fileStarts.filter((start) => start > 0 && start < text.length), text.length];
  return bounds.slice(1)
    .flatMap((end, i) => cutAfter(text.slice(bounds[i], end), marker))
    .map((document) => tokenizer.encode(document))
    .filter((ids) => ids.length > 0);
}

/** The parts of a text that end with the marker, and what comes after the last one. */
function cutAfter(text: string, marker: string): string[] {
  const parts = text.split(marker);
  return parts.map((part, i) => i < parts.length - 1 ? part + marker : part);
}
