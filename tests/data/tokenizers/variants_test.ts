import { assert, assertEquals, assertThrows } from "@std/assert";
import { loadTokenizer } from "../../../src/data/tokenizers/load.ts";
import { UserError } from "../../../src/errors.ts";
import { ENGLISH, RANDOM_TEXTS } from "./testTexts.ts";

interface File {
  readonly model: object;
}

const read = (name: string): File =>
  JSON.parse(
    Deno.readTextFileSync(new URL(`../../fixtures/tokenizers/${name}/tokenizer.json`, import.meta.url)),
  );
const LLAMA = read("llama");
const T5 = read("t5");

const metaspace = (prepend_scheme: string, split: boolean) => ({
  type: "Metaspace",
  replacement: "▁",
  prepend_scheme,
  split,
});
/** As newer files of LLaMA's kind are. */
const LLAMA_METASPACE = { ...LLAMA, normalizer: null, pre_tokenizer: metaspace("first", false) };

/** A BPE of characters: ▁, a, b, and ab, ▁ab. */
function smallFile(changes: object, modelChanges: object = {}): unknown {
  return {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    decoder: { type: "Fuse" },
    model: {
      type: "BPE",
      vocab: {
        "<unk>": 0,
        "▁": 1,
        a: 2,
        b: 3,
        ab: 4,
        "▁ab": 5,
        "<s>": 6,
        "</s>": 7,
        "<0xC3>": 8,
        "<0xA9>": 9,
      },
      merges: [["a", "b"], ["▁", "ab"]],
      unk_token: "<unk>",
      ...modelChanges,
    },
    ...changes,
  };
}

const encode = (file: unknown, text: string) => [...loadTokenizer(file).encode(text)];

Deno.test("loadTokenizer() reads every spelling of the space mark", () => {
  const ids = (changes: object, text: string) => encode(smallFile(changes), text);
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const prepend = { type: "Prepend", prepend: "▁" };
  const older = { normalizer: { type: "Sequence", normalizers: [prepend, replace] } };
  assertEquals(ids(older, "ab ab"), [5, 5]);
  assertEquals(ids(older, " ab"), [1, 5]); // one in front, whatever the text starts with
  assertEquals(ids(older, ""), []);
  assertEquals(ids({ normalizer: replace }, "ab ab"), [4, 5]);
  for (const split of [true, false]) {
    for (const scheme of ["always", "first"]) {
      assertEquals(ids({ pre_tokenizer: metaspace(scheme, split) }, "ab ab"), [5, 5]);
      assertEquals(ids({ pre_tokenizer: metaspace(scheme, split) }, " ab"), [5]);
    }
    assertEquals(ids({ pre_tokenizer: metaspace("never", split) }, "ab ab"), [4, 5]);
  }
  const old = { type: "Metaspace", replacement: "▁", add_prefix_space: true };
  assertEquals(ids({ pre_tokenizer: old }, "ab"), [5]);
  assertEquals(ids({ pre_tokenizer: { ...old, add_prefix_space: false } }, "ab"), [4]);
});

Deno.test("Metaspace puts a mark in front of each stretch, or of the first only", () => {
  const added_tokens = [{ id: 7, content: "</s>", special: true }];
  const ids = (scheme: string, text: string) =>
    encode(smallFile({ added_tokens, pre_tokenizer: metaspace(scheme, true) }), text);
  assertEquals(ids("always", "ab</s>ab"), [5, 7, 5]);
  assertEquals(ids("first", "ab</s>ab"), [5, 7, 4]);
  assertEquals(ids("first", "</s>ab"), [7, 4]);
  const afterSpace = {
    type: "Sequence",
    pretokenizers: [{ type: "WhitespaceSplit" }, metaspace("first", true)],
  };
  assertEquals(encode(smallFile({ pre_tokenizer: afterSpace }), "ab \n ab"), [5, 4]);
  assertEquals(encode(smallFile({ pre_tokenizer: afterSpace }), " ab"), [4]); // it does not start the text
});

Deno.test("bpeModel() spells what it does not know in bytes, or has one unknown token for a run or for each", () => {
  const ids = (model: object, text: string) => encode(smallFile({}, model), text);
  assertEquals(ids({}, "aéxb"), [2, 0, 0, 3]);
  assertEquals(ids({ fuse_unk: true }, "aéxb"), [2, 0, 3]);
  assertEquals(ids({ byte_fallback: true }, "aéb"), [2, 8, 9, 3]);
  assertEquals(ids({ byte_fallback: true }, "axb"), [2, 0, 3]); // no token for the byte 78
  assertEquals(ids({ unk_token: null }, "axb"), [4]);
  assertEquals(ids({ unk_token: null }, "▁x▁ab"), [1, 5]);
});

Deno.test("encode() of LLaMA's kind merges a text as a whole, though it is cut into words", () => {
  const { merges, vocab } = LLAMA.model as { merges: [string, string][]; vocab: Record<string, number> };
  const crossing = { ...LLAMA.model, merges: [["e", "▁"], ...merges], vocab: { ...vocab, "e▁": 1505 } };
  const [cut, whole] = [LLAMA, { ...LLAMA, model: crossing }].map((file) => loadTokenizer(file));
  for (const text of [...RANDOM_TEXTS, "they  sit    on this"]) { // no e before a space
    assertEquals(whole.encode(text), cut.encode(text));
  }
  assert(whole.encode("we are").includes(1505));
});

Deno.test("decode() gives every text back that the tokenizer has tokens for", () => {
  for (const file of [LLAMA, LLAMA_METASPACE]) {
    const tokenizer = loadTokenizer(file);
    for (const text of [ENGLISH, ...RANDOM_TEXTS]) {
      const startsWithSpace = file === LLAMA_METASPACE && text.startsWith(" "); // has no mark of its own then
      assertEquals(tokenizer.decode(tokenizer.encode(text)), startsWithSpace ? text.slice(1) : text);
    }
  }
});

Deno.test("decoder() gives a text out as soon as it is certain", () => {
  const tokenizer = loadTokenizer(LLAMA);
  const { vocab } = LLAMA.model as { vocab: Record<string, number> };
  const push = (tokens: string[], continues: boolean) => {
    const decoder = tokenizer.decoder({ continues });
    return [...tokens.map((token) => decoder.push(vocab[token])), decoder.end()];
  };
  assertEquals(push(["▁▁", "▁the", "▁a"], false), [" ", " the", " a", ""]);
  assertEquals(push(["▁the", "▁a"], true), [" the", " a", ""]);
  assertEquals(push(["<0xE2>", "<0x82>", "<0xAC>", "▁a"], true), ["", "", "", "€ a", ""]);
  assertEquals(push(["a", "<0xE2>", "<0x82>"], true), ["a", "", "", "\ufffd\ufffd"]);
  const t5 = loadTokenizer(T5);
  const the = t5.encode("the the").at(-1)!;
  const decode = (continues: boolean) => {
    const decoder = t5.decoder({ continues });
    return [decoder.push(the), decoder.push(the)];
  };
  assertEquals(decode(false), ["the", " the"]);
  assertEquals(decode(true), [" the", " the"]);
});

Deno.test("bytesOf() counts the bytes of a text, and the space in front", () => {
  for (const file of [LLAMA, LLAMA_METASPACE]) {
    const tokenizer = loadTokenizer(file);
    const bytes = [...tokenizer.encode(ENGLISH)].flatMap((id) => [...tokenizer.bytesOf(id)]);
    assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)), ` ${ENGLISH}`);
  }
});

Deno.test("frame is what the post-processor puts around a text", () => {
  assertEquals(loadTokenizer(LLAMA).frame, { before: [1], after: [] });
  assertEquals(loadTokenizer(T5).frame, { before: [], after: [1] });
  const template = (id: string) => ({
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id } }, { Sequence: { id: "A" } }, { SpecialToken: { id } }],
    special_tokens: { "<s>": { ids: [6] }, "</s>": { ids: [7, 7] } },
  });
  const twice = { type: "Sequence", processors: [template("<s>"), { type: "ByteLevel" }, template("</s>")] };
  assertEquals(loadTokenizer(smallFile({ post_processor: twice })).frame, {
    before: [7, 7, 6],
    after: [6, 7, 7],
  });
  assertThrows(
    () => loadTokenizer(smallFile({ post_processor: template("x") })),
    UserError,
    "without ids for x",
  );
  const single = [{ Sequence: { id: "A" } }, { Sequence: { id: "A" } }];
  const repeated = { ...template("<s>"), single };
  assertThrows(() => loadTokenizer(smallFile({ post_processor: repeated })), UserError, "repeats the text");
});

Deno.test("lastBoundary() cuts a text with space marks where the parts have the tokens of the whole", () => {
  const published = {
    ...T5,
    normalizer: {
      type: "Sequence",
      normalizers: [
        (T5 as File & { normalizer: object }).normalizer,
        { type: "Strip", strip_left: false, strip_right: true },
        { type: "Replace", pattern: { Regex: " {2,}" }, content: "▁" },
      ],
    },
    pre_tokenizer: metaspace("first", true),
  };
  for (const file of [T5, published, LLAMA_METASPACE]) {
    const tokenizer = loadTokenizer(file);
    let cuts = 0;
    for (const text of [ENGLISH.slice(0, 120), "a   b ab\u200b  c", ...RANDOM_TEXTS]) {
      for (let end = 0; end <= text.length; end++) {
        const cut = tokenizer.lastBoundary(text.slice(0, end));
        if (cut === 0) continue;
        cuts++;
        const parts = [...tokenizer.encode(text.slice(0, cut)), ...tokenizer.encode(text.slice(cut))];
        assertEquals(parts, [...tokenizer.encode(text)], JSON.stringify([text, cut]));
      }
    }
    assert(cuts > 100);
  }
  assertEquals(loadTokenizer(LLAMA).lastBoundary(ENGLISH), 0); // every part would get a mark
});

Deno.test("loadTokenizer() refuses in one line what it can't do, step by step", () => {
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  const decoders = (...steps: object[]) => ({ decoder: { type: "Sequence", decoders: steps } });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  const refused: [object, string][] = [
    [{ normalizer: { type: "Nmt" } }, "a normalizer of type Nmt"],
    [{ normalizer: { type: "Strip", strip_left: true, strip_right: true } }, "strip_left"],
    [{ normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } }, "a precompiled_charsmap that"],
    [{ normalizer: { type: "Replace", pattern: { Regex: "(?>a)" }, content: "" } }, "the pattern (?>a)"],
    [{ normalizer: { type: "Replace", content: "" } }, "Replace: pattern is missing"],
    [{ pre_tokenizer: { type: "Digits" } }, "a pre_tokenizer of type Digits"],
    [
      { pre_tokenizer: { type: "Sequence", pretokenizers: [byteLevel, metaspace("always", true)] } },
      "after ByteLevel",
    ],
    [{ pre_tokenizer: metaspace("last", true) }, "prepend_scheme"],
    [{ decoder: { type: "CTC" } }, "a decoder of type CTC"],
    [{ decoder: strip }, "a decoder of Strip in this order"],
    [decoders(strip, { type: "Fuse" }), "Strip, Fuse in this order"],
    [decoders({ type: "Fuse" }, { type: "ByteFallback" }), "Fuse, ByteFallback in this order"],
    [decoders({ type: "Fuse" }, { ...strip, stop: 1 }), "Strip with stop 1"],
    [{ post_processor: { type: "RobertaProcessing" } }, "a post_processor of type RobertaProcessing"],
  ];
  for (const [changes, message] of refused) {
    const error = assertThrows(() => loadTokenizer(smallFile(changes), "x.json"), UserError, message);
    assert(error.message.startsWith("x.json") && !error.message.includes("\n"));
  }
  const unigram = (model: object) => ({ ...T5, model: { ...T5.model, ...model } });
  assertThrows(() => loadTokenizer(unigram({ unk_id: null })), UserError, "without unk_id");
  assertThrows(() => loadTokenizer(unigram({ unk_id: 2000 })), UserError, "unk_id 2000");
  assertThrows(() => loadTokenizer(unigram({ vocab: [["a"]] })), UserError, "vocab.0");
});
