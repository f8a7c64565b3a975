import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { trainChars } from "../../src/data/tokenizers/chars.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { UserError } from "../../src/errors.ts";
import { generateText, generateTokens } from "../../src/eval/generate.ts";
import { createPromptFormat, type PromptFormat } from "../../src/eval/promptFormat.ts";
import { sampleToken } from "../../src/eval/sample.ts";
import { normals, Stream, uniform } from "../../src/random.ts";
import { fakeEngine } from "../train/fakeEngine.ts";
import { fullForward, inferenceEngine, someTokens, tinySpec, writeRandomWeights } from "./support.ts";

/** How a causal decoder without an end of text is asked. */
function causalFormat(columns: number, vocabSize: number): PromptFormat {
  return createPromptFormat(
    { architecture: "causalDecoder", objective: { kind: "causal" }, columns },
    { vocabSize, endOfText: null },
  );
}

const SAMPLING = { temperature: 1.2, topK: null, topP: 1 };

/** Tokens by the full forward alone; a question is asked anew when the columns are full. */
async function fullTokens(engine: Engine, format: PromptFormat, prompt: Int32Array, count: number) {
  const { columns } = engine.report;
  let text = [...prompt];
  let question = format.ask(text);
  let row = [...question.tokens];
  const found: number[] = [];
  while (found.length < count) {
    if (row.length > columns) {
      if (text.length > format.room) text = text.slice(-format.keep);
      question = format.ask(text);
      row = [...question.tokens];
    }
    const { prefix, source } = question;
    const logits = await fullForward(engine, row, { prefix, source: source ?? undefined }); // (T, V)
    const V = logits.length / columns;
    const last = logits.subarray((row.length - 1) * V, row.length * V).subarray(0, format.vocabSize);
    const u = uniform(4, Stream.sample, 0, prompt.length + found.length);
    const token = sampleToken(last, SAMPLING, u);
    for (const list of [found, text, row]) list.push(token);
  }
  return found;
}

const shapes: [Partial<ModelSpec>, "causal" | "prefix" | "span"][] = [
  [{ architecture: "causalDecoder" }, "causal"],
  [{ architecture: "causalDecoder", positions: "alibi", seqLen: 5 }, "span"],
  [{ architecture: "nonCausalDecoder" }, "prefix"],
  [{ architecture: "nonCausalDecoder", positions: "rotary", headDim: 6, seqLen: 3 }, "span"],
  [{ architecture: "encoderDecoder", numEncoderLayers: 1 }, "causal"],
  [{ architecture: "encoderDecoder", numEncoderLayers: 1 }, "prefix"],
  [{ architecture: "encoderDecoder", numEncoderLayers: 1, positions: "sinusoidal", seqLen: 4 }, "span"],
];
for (const [shape, kind] of shapes) {
  const name = `${shape.architecture} for objective ${kind}`;
  Deno.test(`generateTokens() of ${name} follows the full forward, beyond the context, too`, async () => {
    const columns = 7;
    const spec = tinySpec({ seqLen: columns, tied: false, ...shape });
    const engine = await inferenceEngine(spec, 1, columns);
    try {
      await writeRandomWeights(engine);
      const { architecture = "causalDecoder" } = shape;
      const vocabulary = { vocabSize: spec.vocabSize - 3, endOfText: null };
      const made = createPromptFormat({ architecture, objective: { kind }, columns }, vocabulary);
      const format = { ...made, vocabSize: vocabulary.vocabSize }; // so that no span is closed
      const prompt = someTokens(3, format.vocabSize);
      const options = { maxTokens: 20, seed: 4, ...SAMPLING };
      const found = await Array.fromAsync(generateTokens(engine, format, prompt, options));
      assertEquals(found, await fullTokens(engine, format, prompt, 20));
      assert(new Set(found).size > 5, "a model that repeats itself shows nothing");
    } finally {
      await engine.close();
    }
  });
}

/** An engine whose logits depend on every token of the context, and with a cache that can be overwritten. */
function cachingEngine(spec: ModelSpec): Engine & { readonly calls: [number, number][] } {
  const cache: number[] = [];
  const calls: [number, number][] = []; // tokens, start
  return {
    ...fakeEngine(spec, { microBatchSize: 1 }),
    calls,
    next(tokens, start) {
      assert(start + tokens.length <= spec.seqLen, "beyond the context");
      calls.push([tokens.length, start]);
      cache.splice(start, Infinity, ...tokens);
      return Promise.resolve(logitsAfter(cache, spec.vocabSize));
    },
  };
}

/** (V) */
function logitsAfter(context: readonly number[], vocabSize: number): Float32Array {
  const key = context.reduce((hash, token, i) => Math.imul(hash, 31) + (i + 1) * (token + 1), 7);
  return normals(vocabSize, 2, key >>> 0, Stream.test, 0);
}

Deno.test("generateTokens() gives the cache each token once, and half a context anew when it is full", async () => {
  for (const seqLen of [1, 2, 5, 8]) {
    const spec = tinySpec({ seqLen, vocabSize: 13, numLayers: 1 });
    const engine = cachingEngine(spec);
    const options = { maxTokens: 23, temperature: 1.3, topK: 9, topP: 0.9, seed: 5 };
    const prompt = [1, 2, 3, 4, 5, 6];
    const found = await Array.fromAsync(generateTokens(engine, causalFormat(seqLen, 13), prompt, options));
    let context = prompt.slice(-seqLen);
    const expected: number[] = [];
    const calls: [number, number][] = [];
    for (let i = 0; i < 23; i++) {
      const isNew = i === 0 || context.length > seqLen;
      if (context.length > seqLen) context = context.slice(-Math.max(1, Math.floor(seqLen / 2)));
      calls.push(isNew ? [context.length, 0] : [1, context.length - 1]);
      const u = uniform(5, Stream.sample, 0, prompt.length + i);
      expected.push(sampleToken(logitsAfter(context, 13), { temperature: 1.3, topK: 9, topP: 0.9 }, u));
      context.push(expected[i]);
    }
    assertEquals(found, expected);
    assertEquals(engine.calls, calls);
  }
});

Deno.test("generateTokens() has the same tokens where generations take turns on an engine", async () => {
  const spec = tinySpec({ seqLen: 6, vocabSize: 13, numLayers: 1 });
  const format = causalFormat(6, 13);
  const options = [{ maxTokens: 15, seed: 1 }, { maxTokens: 15, seed: 2 }];
  const alone = await Promise.all(
    options.map((o) => Array.fromAsync(generateTokens(cachingEngine(spec), format, [1, 2], o))),
  );
  const engine = cachingEngine(spec);
  const together = await Promise.all(
    options.map((o) => Array.fromAsync(generateTokens(engine, format, [1, 2], o))),
  );
  assertEquals(together, alone);
  assertNotEquals(alone[0], alone[1]);
});

/** An engine that records what it is asked, and of which each token comes from a list. */
function recordingEngine(tokens: readonly number[], columns = 8): Engine & { readonly asked: unknown[] } {
  const asked: unknown[] = [];
  let count = 0;
  const spec = tinySpec({ seqLen: columns, vocabSize: 20, numLayers: 1 });
  return {
    ...fakeEngine(spec, { microBatchSize: 1 }),
    asked,
    encode(ids) {
      asked.push({ source: [...ids] });
      return Promise.resolve();
    },
    async next(ids, start) {
      const isLast = asked.push({ [start]: [...ids] });
      await Promise.resolve();
      const logits = new Float32Array(20);
      if (isLast === asked.length) logits[tokens[count++]] = 1000; // nothing else was asked at once
      return logits;
    },
  };
}

const TEXT_OF_TEN = { vocabSize: 10, endOfText: null }; // end 10, sentinels from 11 on

Deno.test("generateTokens() asks for the next span when one is closed, and ends at an empty one", async () => {
  const objective = { kind: "span" } as const;
  const tokens = [5, 6, 12, 7, 11, 10, 8]; // the empty span ends it, whichever id closes it
  for (
    const [architecture, asked] of [
      ["causalDecoder", [
        { 0: [1, 2, 11, 10, 11] },
        { 5: [5] },
        { 6: [6] },
        { 0: [1, 2, 5, 6, 11, 10, 11] },
        { 7: [7] },
        { 0: [1, 2, 5, 6, 7, 11, 10, 11] },
      ]],
      ["encoderDecoder", [
        { source: [1, 2, 11, 10] },
        { 0: [10, 11] },
        { 2: [5] },
        { 3: [6] },
        { source: [1, 2, 5, 6, 11, 10] },
        { 0: [10, 11] },
        { 2: [7] },
        { source: [1, 2, 5, 6, 7, 11, 10] },
        { 0: [10, 11] },
      ]],
      ["nonCausalDecoder", [
        { 0: [1, 2, 11, 10] },
        { 4: [11] },
        { 5: [5] },
        { 6: [6] },
        { 0: [1, 2, 5, 6, 11, 10] },
        { 6: [11] },
        { 7: [7] },
        { 0: [1, 2, 5, 6, 7, 11, 10] },
        { 7: [11] },
      ]],
    ] as const
  ) {
    const engine = recordingEngine(tokens);
    const format = createPromptFormat({ architecture, objective, columns: 8 }, TEXT_OF_TEN);
    assertEquals(await Array.fromAsync(generateTokens(engine, format, [1, 2])), [5, 6, 7]);
    assertEquals(engine.asked, [...asked]);
  }
});

Deno.test("generateTokens() gives prefix and source again where another generation came between", async () => {
  const ask = (architecture: "nonCausalDecoder" | "encoderDecoder") =>
    createPromptFormat({ architecture, objective: { kind: "prefix" }, columns: 8 }, TEXT_OF_TEN);
  const engine = recordingEngine([3, 4, 5, 6]);
  const decoder = generateTokens(engine, ask("nonCausalDecoder"), [1, 2]);
  const both = generateTokens(engine, ask("encoderDecoder"), [8, 9]);
  const found: unknown[] = [];
  for (const turn of [decoder, both, decoder, both]) found.push((await turn.next()).value);
  assertEquals(found, [3, 4, 5, 6]);
  assertEquals(engine.asked, [
    { 0: [1, 2] },
    { source: [8, 9] },
    { 0: [10] },
    { 0: [1, 2] },
    { 2: [3] },
    { source: [8, 9] },
    { 0: [10, 4] },
  ]);
});

const CHARS = trainChars("ab\n 🙂");

/** Generates with a fixed list of tokens: whatever the context, the token after n is tokens[n - prompt's length]. */
function scripted(tokens: Iterable<number>, promptLength = 1, vocabSize = 256) {
  const spec = tinySpec({ seqLen: 100, vocabSize, numLayers: 1 });
  const list = [...tokens];
  const fed: number[] = [];
  const engine: Engine = {
    ...fakeEngine(spec, { microBatchSize: 1 }),
    next(ids, start) {
      fed.push(...ids);
      const logits = new Float32Array(vocabSize);
      logits[list[start + ids.length - promptLength]] = 1000;
      return Promise.resolve(logits);
    },
  };
  return { engine, format: causalFormat(100, vocabSize), fed };
}

Deno.test("generateText() gives whole characters, and the stop strings not at all", async () => {
  const tokenizer = bytesTokenizer();
  const text = "né 🙂 stop. more";
  const { engine, format } = scripted(tokenizer.encode(text));
  const write = (options: Parameters<typeof generateText>[4]) =>
    Array.fromAsync(generateText(engine, format, tokenizer, "x", options));
  assertEquals(await write({ maxTokens: 12 }), ["n", "é", " ", "🙂", " ", "s", "t", "o"]);
  assertEquals((await write({ maxTokens: 19, stop: ["top.", "zzz"] })).join(""), "né 🙂 s");
  assertEquals(
    (await write({ maxTokens: 11, stop: ["top."] })).join(""),
    "né 🙂 st",
    "held back, then flushed",
  );
  assertEquals((await write({ maxTokens: 6 })).join(""), "né \ufffd", "ends within a character");
  assertEquals((await write({ maxTokens: 19, stop: ["é "] })).join(""), "n");
  assertEquals(await write({ maxTokens: 0 }), []);
});

Deno.test("generateText() ends at the tokenizer's end of text and starts from it without a prompt", async () => {
  const bytes = bytesTokenizer();
  const tokenizer = { ...bytes, endOfText: 0 };
  const { engine, format, fed } = scripted([...bytes.encode("end"), 0, ...bytes.encode("more")]);
  const pieces = generateText(engine, { ...format, ends: [0] }, tokenizer, "");
  assertEquals((await Array.fromAsync(pieces)).join(""), "end");
  assertEquals(fed[0], 0);
});

Deno.test("generateText() starts from a line end without a prompt, where there is one", async () => {
  const { engine, format, fed } = scripted(CHARS.encode("ab"), 1, CHARS.vocabSize);
  const pieces = await Array.fromAsync(generateText(engine, format, CHARS, "", { maxTokens: 2 }));
  assertEquals([pieces.join(""), fed[0]], ["ab", CHARS.encode("\n")[0]]);
  const none = generateText(engine, format, trainChars("ab"), "");
  await assertRejects(() => none.next(), UserError, "prompt is empty");
});

Deno.test("generateText() leaves padding of the vocabulary out", async () => {
  const spec = tinySpec({ seqLen: 50, vocabSize: 300, numLayers: 1 });
  const engine: Engine = {
    ...fakeEngine(spec, { microBatchSize: 1 }),
    next: () => Promise.resolve(new Float32Array(300).fill(5, 256).fill(1, 97, 98)),
  };
  const format = causalFormat(50, 256);
  const pieces = generateText(engine, format, bytesTokenizer(), "x", { maxTokens: 3, temperature: 0 });
  assertEquals((await Array.fromAsync(pieces)).join(""), "aaa");
});

Deno.test("generateText() ends when its signal comes", async () => {
  const { engine, format } = scripted(CHARS.encode("ababab"), 1, CHARS.vocabSize);
  const controller = new AbortController();
  const found: string[] = [];
  for await (const piece of generateText(engine, format, CHARS, "a", { signal: controller.signal })) {
    found.push(piece);
    if (found.length === 2) controller.abort();
  }
  assertEquals(found, ["a", "b"]);
});

Deno.test("generateText() refuses options and prompts that make no sense", async () => {
  const { engine, format } = scripted([0], 1, CHARS.vocabSize);
  const cases = [
    ["a", { temperature: -1 }, "temperature is -1, expected"],
    ["a", { temperature: NaN }, "temperature"],
    ["a", { topK: 0 }, "topK is 0, expected"],
    ["a", { topK: 1.5 }, "topK is 1.5, expected"],
    ["a", { topP: 0 }, "topP is 0, expected"],
    ["a", { topP: 1.1 }, "topP is 1.1, expected"],
    ["a", { maxTokens: -1 }, "maxTokens is -1, expected"],
    ["a", { seed: 2 ** 32 }, "seed is 4294967296, expected"],
    ["a", { stop: [""] }, "stop string is empty"],
    ["z", {}, 'Character "z"'],
  ] as const;
  for (const [prompt, options, message] of cases) {
    await assertRejects(
      () => generateText(engine, format, CHARS, prompt, options).next(),
      UserError,
      message,
    );
  }
  for (const ids of [[], [5], [-1], [0.5]]) {
    await assertRejects(() => generateTokens(engine, format, ids).next(), UserError, "expected");
  }
  const broken: Engine = { ...engine, next: () => Promise.resolve(new Float32Array(5).fill(NaN)) };
  await assertRejects(
    () => generateText(broken, format, CHARS, "a").next(),
    UserError,
    "take another checkpoint",
  );
});
