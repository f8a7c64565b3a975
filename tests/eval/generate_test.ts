import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { trainChars } from "../../src/data/tokenizers/chars.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { UserError } from "../../src/errors.ts";
import { generateText, generateTokens } from "../../src/eval/generate.ts";
import { sampleToken } from "../../src/eval/sample.ts";
import { normals, Stream, uniform } from "../../src/random.ts";
import { readModelSpec } from "../../src/train/modelFiles.ts";
import { loadWeights } from "../../src/train/weights.ts";
import { fakeEngine } from "../train/fakeEngine.ts";
import { fullForward, inferenceEngine, tinySpec, writeRandomWeights } from "./support.ts";

const GPT2 = new URL("../fixtures/hf/gpt2", import.meta.url).pathname;
const GREEDY = { temperature: 0, topK: null, topP: 1 };

function someTokens(count: number, vocabSize: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => Math.floor(uniform(3, Stream.test, 9, i) * vocabSize));
}

/** Feeds a row in chunks and compares the logits after each with the full forward's. */
async function compareChunks(engine: Engine, row: Int32Array, full: Float32Array, chunk: number) {
  const V = full.length / engine.report.columns;
  for (let from = 0; from < row.length; from += chunk) {
    const part = row.subarray(from, from + chunk);
    const found = await engine.next(part, from); // (V)
    const wanted = full.subarray((from + part.length - 1) * V, (from + part.length) * V);
    assertEquals(found.length, V);
    wanted.forEach((b, i) => {
      const limit = 2e-5 + 2e-5 * Math.abs(b);
      assert(Math.abs(found[i] - b) <= limit, `chunks of ${chunk}, token ${from}: ${found[i]} and ${b}`);
    });
  }
}

Deno.test("the cached path agrees with the full forward", async (t) => {
  const gpt2 = readModelSpec(GPT2);
  const grouped = tinySpec();
  const cases: [string, ModelSpec, number[]][] = [
    ["hf/gpt2", gpt2, [1, 3, 40]],
    ["grouped keys and values", grouped, [1, 7, 63, 64, 65, 130, 150]],
    [
      "RMS norm, SwiGLU, no positions",
      tinySpec({ positions: "none", norm: "rmsnorm", activation: "swiglu" }),
      [
        64,
        65,
      ],
    ],
  ];
  for (const [name, spec, chunks] of cases) {
    await t.step(name, async () => {
      const engine = await inferenceEngine(spec);
      try {
        if (spec === gpt2) await loadWeights(engine, GPT2, spec);
        else await writeRandomWeights(engine);
        const row = someTokens(spec.seqLen, spec.vocabSize);
        const full = await fullForward(engine, row);
        for (const chunk of chunks) await compareChunks(engine, row, full, chunk);
      } finally {
        await engine.close();
      }
    });
  }
});

Deno.test("generateTokens() is greedy on the full forward's logits, also beyond the context", async () => {
  const spec = tinySpec({ seqLen: 7, numLayers: 1, tied: false });
  const engine = await inferenceEngine(spec);
  try {
    await writeRandomWeights(engine);
    const prompt = someTokens(3, spec.vocabSize);
    const found = await Array.fromAsync(
      generateTokens(engine, spec, prompt, { maxTokens: 20, temperature: 0 }),
    );
    let context = [...prompt];
    const expected: number[] = [];
    for (let i = 0; i < 20; i++) {
      if (context.length > spec.seqLen) context = context.slice(-3); // half of 7
      const logits = await fullForward(engine, context); // (T, V)
      const last = logits.subarray((context.length - 1) * spec.vocabSize, context.length * spec.vocabSize);
      expected.push(sampleToken(last, GREEDY, 0));
      context.push(expected[i]);
    }
    assertEquals(found, expected);
    assert(new Set(found).size > 2, "a model that repeats itself shows nothing");
  } finally {
    await engine.close();
  }
});

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
    const found = await Array.fromAsync(generateTokens(engine, spec, prompt, options));
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
  const options = [{ maxTokens: 15, seed: 1 }, { maxTokens: 15, seed: 2 }];
  const alone = await Promise.all(
    options.map((o) => Array.fromAsync(generateTokens(cachingEngine(spec), spec, [1, 2], o))),
  );
  const engine = cachingEngine(spec);
  const together = await Promise.all(
    options.map((o) => Array.fromAsync(generateTokens(engine, spec, [1, 2], o))),
  );
  assertEquals(together, alone);
  assertNotEquals(alone[0], alone[1]);
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
  return { engine, spec, fed };
}

Deno.test("generateText() gives whole characters, and the stop strings not at all", async () => {
  const tokenizer = bytesTokenizer();
  const text = "né 🙂 stop. more";
  const { engine, spec } = scripted(tokenizer.encode(text));
  const write = (options: Parameters<typeof generateText>[4]) =>
    Array.fromAsync(generateText(engine, spec, tokenizer, "x", options));
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
  const { engine, spec, fed } = scripted([...bytes.encode("end"), 0, ...bytes.encode("more")]);
  assertEquals((await Array.fromAsync(generateText(engine, spec, tokenizer, "")))!.join(""), "end");
  assertEquals(fed[0], 0);
});

Deno.test("generateText() starts from a line end without a prompt, where there is one", async () => {
  const { engine, spec, fed } = scripted(CHARS.encode("ab"), 1, CHARS.vocabSize);
  const pieces = await Array.fromAsync(generateText(engine, spec, CHARS, "", { maxTokens: 2 }));
  assertEquals([pieces.join(""), fed[0]], ["ab", CHARS.encode("\n")[0]]);
  const none = generateText(engine, spec, trainChars("ab"), "");
  await assertRejects(() => none.next(), UserError, "prompt is empty");
});

Deno.test("generateText() leaves padding of the vocabulary out", async () => {
  const spec = tinySpec({ seqLen: 50, vocabSize: 300, numLayers: 1 });
  const engine: Engine = {
    ...fakeEngine(spec, { microBatchSize: 1 }),
    next: () => Promise.resolve(new Float32Array(300).fill(5, 256).fill(1, 97, 98)),
  };
  const pieces = generateText(engine, spec, bytesTokenizer(), "x", { maxTokens: 3, temperature: 0 });
  assertEquals((await Array.fromAsync(pieces)).join(""), "aaa");
});

Deno.test("generateText() ends when its signal comes", async () => {
  const { engine, spec } = scripted(CHARS.encode("ababab"), 1, CHARS.vocabSize);
  const controller = new AbortController();
  const found: string[] = [];
  for await (const piece of generateText(engine, spec, CHARS, "a", { signal: controller.signal })) {
    found.push(piece);
    if (found.length === 2) controller.abort();
  }
  assertEquals(found, ["a", "b"]);
});

Deno.test("generateText() refuses options and prompts that make no sense", async () => {
  const { engine, spec } = scripted([0], 1, CHARS.vocabSize);
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
    await assertRejects(() => generateText(engine, spec, CHARS, prompt, options).next(), UserError, message);
  }
  for (const ids of [[], [5], [-1], [0.5]]) {
    await assertRejects(() => generateTokens(engine, spec, ids).next(), UserError, "expected");
  }
  const broken: Engine = { ...engine, next: () => Promise.resolve(new Float32Array(5).fill(NaN)) };
  await assertRejects(
    () => generateText(broken, spec, CHARS, "a").next(),
    UserError,
    "take another checkpoint",
  );
});
