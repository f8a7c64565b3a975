import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../../src/errors.ts";
import { trainBpe } from "../../../src/data/tokenizers/bpeTrainer.ts";
import { bytesTokenizer } from "../../../src/data/tokenizers/bytes.ts";
import { trainChars } from "../../../src/data/tokenizers/chars.ts";
import { loadTokenizer, readTokenizer } from "../../../src/data/tokenizers/load.ts";
import { ENGLISH, RANDOM_TEXTS } from "./testTexts.ts";

/** A byte-level BPE's file, with changes. */
function bpeFile(changes: Record<string, unknown>, modelChanges: Record<string, unknown> = {}): unknown {
  const json = trainBpe("low low lower", 260).toJSON() as { model: object };
  return { ...json, ...changes, model: { ...json.model, ...modelChanges } };
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };

Deno.test("loadTokenizer() reads back each of our kinds", () => {
  const all = RANDOM_TEXTS.join("") + ENGLISH;
  for (const tokenizer of [bytesTokenizer(), trainChars(all), trainBpe(all, 300)]) {
    const again = loadTokenizer(JSON.parse(JSON.stringify(tokenizer.toJSON())));
    assertEquals(again.kind, tokenizer.kind);
    assertEquals(again.vocabSize, tokenizer.vocabSize);
    assertEquals(again.toJSON(), tokenizer.toJSON());
    for (const text of [ENGLISH, ...RANDOM_TEXTS]) assertEquals(again.encode(text), tokenizer.encode(text));
  }
});

Deno.test("loadTokenizer() names the kind that it refuses", () => {
  const refused: [unknown, string][] = [
    [{ model: { type: "Unigram", vocab: [] } }, "a Unigram model without unk_id"],
    [{ model: { type: "WordPiece", vocab: {} } }, "a model of type WordPiece"],
    [{ model: { type: "WordLevel", vocab: { word: 0 } } }, "a WordLevel model of other tokens"],
    [bpeFile({}, { end_of_word_suffix: "</w>" }), "affixes"],
    [bpeFile({ normalizer: { type: "Lowercase" } }), "a normalizer of type Lowercase"],
    [bpeFile({ pre_tokenizer: { type: "Digits" } }), "a pre_tokenizer of type Digits"],
    [bpeFile({ decoder: null }), "a decoder of type none"],
    [bpeFile({}, { vocab: { a: 0 }, merges: [] }), "no token for the byte"],
    [bpeFile({}, { merges: ["q z"] }), "a merge of unknown tokens"],
    [bpeFile({}, { merges: 3 }), "merges"],
    [{}, "model"],
    [null, "tokenizer.json"],
  ];
  for (const [json, message] of refused) assertThrows(() => loadTokenizer(json), UserError, message);
});

Deno.test("loadTokenizer() honours the options of added tokens", () => {
  const added = (id: number, content: string, more: object) => ({ id, content, ...more });
  const tokenizer = loadTokenizer(bpeFile({
    added_tokens: [
      added(300, "<l>", { lstrip: true }),
      added(301, "<r>", { rstrip: true }),
      added(302, "word", { single_word: true }),
      added(303, "<l><r>", {}), // longer than <l>
    ],
  }));
  const ids = (text: string) =>
    [...tokenizer.encode(text)].map((id) => id < 256 ? String.fromCharCode(id) : id);
  assertEquals(ids("a \n<l> b"), ["a", 300, " ", "b"]);
  assertEquals(ids("a <r>\t b"), ["a", " ", 301, "b"]);
  assertEquals(ids("<r>  <l>"), [301, 300]);
  assertEquals(ids("a word,"), ["a", " ", 302, ","]);
  assertEquals(ids("words"), [..."words"]);
  assertEquals(ids("<l><r>"), [303]);
  assertEquals(tokenizer.vocabSize, 304);
});

Deno.test("loadTokenizer() normalizes, puts a space in front, and takes whole words where the file says so", () => {
  const composed = loadTokenizer(bpeFile({ normalizer: { type: "NFC" } }));
  assertEquals(composed.decode(composed.encode("e\u0301")), "é");
  const prefixed = loadTokenizer(bpeFile({ pre_tokenizer: { ...byteLevel, add_prefix_space: true } }));
  assertEquals(["low", " low"].map((text) => prefixed.decode(prefixed.encode(text))), [" low", " low"]);
  const { vocab } = (bpeFile({}) as { model: { vocab: Record<string, number> } }).model;
  const whole = loadTokenizer(bpeFile({}, { ignore_merges: true, vocab: { ...vocab, lot: 400 } }));
  assertEquals([...whole.encode("lot")], [400]);
});

Deno.test("loadTokenizer() knows tokens that are names of object members", () => {
  const { vocab } = (bpeFile({}) as { model: { vocab: Record<string, number> } }).model;
  const names = JSON.parse('{"__proto__": 400, "constructor": 401}') as Record<string, number>;
  const model = { ignore_merges: true, vocab: { ...vocab, ...names } };
  const tokenizer = loadTokenizer(bpeFile({ pre_tokenizer: byteLevel }, model));
  assertEquals([...tokenizer.encode("__proto__"), ...tokenizer.encode("constructor")], [400, 401]);
  assertEquals(tokenizer.decode([400, 401]), "__proto__constructor");
});

Deno.test("loadTokenizer() reads a Split pattern in Oniguruma's syntax", () => {
  const split = (Regex: string) => ({
    type: "Sequence",
    pretokenizers: [{ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }, byteLevel],
  });
  // The merges are l o, lo w, and more: cut after the l, nothing merges.
  const cut = loadTokenizer(bpeFile({ pre_tokenizer: split("[l[\\s(/-]]") }));
  assertEquals([...cut.encode("low (lo-w/lo w")].length, "low (lo-w/lo w".length);
  assertEquals(loadTokenizer(bpeFile({ pre_tokenizer: split("x") })).encode("low").length, 1);
  assertEquals(loadTokenizer(bpeFile({ pre_tokenizer: split("[\\p{L}]") })).encode("low").length, 3);
  for (const pattern of ["\\w+", "(?>a)", "["]) {
    assertThrows(() => loadTokenizer(bpeFile({ pre_tokenizer: split(pattern) })), UserError, "not supported");
  }
});

Deno.test("readTokenizer() names a file that it can't read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await assertRejects(() => readTokenizer(`${folder}/none.json`), UserError, "none.json");
    await Deno.writeTextFile(`${folder}/bad.json`, "{");
    await assertRejects(() => readTokenizer(`${folder}/bad.json`), UserError, "bad.json is not JSON");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
