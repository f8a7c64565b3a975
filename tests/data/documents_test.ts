import { assertEquals } from "@std/assert";
import { encodeDocuments } from "../../src/data/documents.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { trainBpe } from "../../src/data/tokenizers/bpeTrainer.ts";
import type { Tokenizer } from "../../src/data/tokenizers/tokenizer.ts";

const split = (text: string, fileStarts: readonly number[], tokenizer: Tokenizer = bytesTokenizer()) =>
  encodeDocuments(tokenizer, text, fileStarts).map((ids) => tokenizer.decode(ids));

Deno.test("encodeDocuments() cuts where a file starts and after the end of text", () => {
  assertEquals(split("one text\n", [0]), ["one text\n"]);
  assertEquals(split("one\ntwo\nthree\n", [0, 4, 8]), ["one\n", "two\n", "three\n"]);
  const marked = ["a<|endoftext|>", "\nb<|endoftext|>", "c\n"];
  assertEquals(split(marked.join("") + "d\n", [0, marked.join("").length]), [...marked, "d\n"]);
  assertEquals(split("a<|endoftext|>", [0]), ["a<|endoftext|>"]);
  assertEquals(split("", []), []);
});

Deno.test("encodeDocuments() passes over files that start outside of the text", () => {
  assertEquals(split("abc", [-4, 0, 2, 3, 9]), ["ab", "c"]);
});

Deno.test("encodeDocuments() takes the tokenizer's own end of text, and no token of two documents", () => {
  const named = { ...bytesTokenizer(), endOfText: 46 };
  assertEquals(split("a. b.<|endoftext|>", [0], named), ["a.", " b.", "<|endoftext|>"]);
  const bpe = trainBpe("\n\n\n\n".repeat(50), 258);
  assertEquals(bpe.encode("\n\n").length, 1);
  assertEquals(encodeDocuments(bpe, "\n\n", [0, 1]).map((ids) => ids.length), [1, 1]);
});
