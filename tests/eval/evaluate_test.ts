import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { deriveModel, type ModelSpec } from "../../src/config/deriveModel.ts";
import { IGNORE } from "../../src/data/batch.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import type { Tokenizer } from "../../src/data/tokenizers/tokenizer.ts";
import { causalRows } from "../../src/data/rows.ts";
import { oneDocument, windowBatch } from "../../src/data/windows.ts";
import { UserError } from "../../src/errors.ts";
import {
  evaluateBatches,
  evaluateDataset,
  evaluateText,
  evaluateTokens,
  type Evaluation,
} from "../../src/eval/evaluate.ts";
import { type FakeEngine, fakeEngine } from "../train/fakeEngine.ts";
import { tinyConfig, tinyDataset } from "../train/tinyRun.ts";
import { fullForward, inferenceEngine, tinySpec, writeRandomWeights } from "./support.ts";

const TEXT = "naïve 🙂 text, and más of it: ".repeat(7);

async function fake(spec: ModelSpec, microBatchSize: number): Promise<FakeEngine> {
  const engine = fakeEngine(spec, { microBatchSize });
  await writeRandomWeights(engine);
  return engine;
}

/** Each row's loss, targets and bytes from logits, in f64. */
function rowsFromLogits(
  logits: readonly Float32Array[], // (T, V) of each row
  tokens: Int32Array,
  { seqLen: T, vocabSize: V }: ModelSpec,
  tokenizer: Tokenizer,
) {
  return logits.map((values, row) => {
    const sums = { loss: 0, targets: 0, bytes: 0 };
    for (let t = 0; t < T && row * T + t + 1 < tokens.length; t++) {
      const target = tokens[row * T + t + 1];
      const at = Array.from(values.subarray(t * V, (t + 1) * V)); // (V)
      sums.loss += Math.log(at.reduce((sum, logit) => sum + Math.exp(logit), 0)) - at[target];
      sums.targets++;
      sums.bytes += tokenizer.bytesOf(target).length;
    }
    return sums;
  });
}

/** What `Evaluation` says it is, from whole arrays. */
function expectedOf(rows: ReturnType<typeof rowsFromLogits>): Evaluation {
  const ratio = (upper: number[], lower: number[]) => {
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    const value = sum(upper) / sum(lower);
    const squares = sum(upper.map((x, i) => (x - value * lower[i]) ** 2));
    return [value, Math.sqrt(squares * rows.length / (rows.length - 1)) / sum(lower), sum(lower)];
  };
  const losses = rows.map(({ loss }) => loss);
  const [loss, lossStandardError, tokens] = ratio(losses, rows.map(({ targets }) => targets));
  const [bits, bitsError, bytes] = ratio(losses.map((x) => x / Math.log(2)), rows.map(({ bytes }) => bytes));
  return {
    loss,
    lossStandardError,
    perplexity: Math.exp(loss),
    perplexityStandardError: Math.exp(loss) * lossStandardError,
    bitsPerByte: bits,
    bitsPerByteStandardError: bitsError,
    tokens,
    bytes,
    rows: rows.length,
  };
}

function assertClose(found: Evaluation, expected: Evaluation, tolerance: number) {
  for (const [key, value] of Object.entries(expected)) {
    assertAlmostEquals(found[key as keyof Evaluation]!, value, tolerance * Math.abs(value), key);
  }
}

/** Some tokens stand for two bytes, so that rows with as many tokens differ in bytes. */
function pairsTokenizer(): Tokenizer {
  const bytes = bytesTokenizer();
  return {
    ...bytes,
    bytesOf: (id) => id % 3 === 0 ? Uint8Array.of(id, id) : Uint8Array.of(id),
  };
}

Deno.test("evaluateText() is what the logits say, on the GPU", async () => {
  const spec = tinySpec({ seqLen: 13, numLayers: 1, vocabSize: 256 });
  const engine = await inferenceEngine(spec, 3);
  try {
    await writeRandomWeights(engine);
    const tokenizer = pairsTokenizer();
    const tokens = tokenizer.encode(TEXT);
    const logits: Float32Array[] = [];
    for (let from = 0; from + 1 < tokens.length; from += 13) {
      logits.push(await fullForward(engine, tokens.subarray(from, from + 13)));
    }
    const expected = expectedOf(rowsFromLogits(logits, tokens, spec, tokenizer));
    assert(tokens.length % 13 !== 1 && expected.rows % 3 !== 0, "the last row and batch are ragged");
    assertEquals([expected.tokens, expected.rows], [tokens.length - 1, logits.length]);
    assertClose(await evaluateText(engine, tokenizer, [TEXT]), expected, 1e-5);
    assertClose(await evaluateTokens(engine, tokenizer, tokens), expected, 1e-5);
  } finally {
    await engine.close();
  }
});

Deno.test("evaluateText() gives the same for chunks of any size and any number of rows at once", async () => {
  const spec = tinySpec({ seqLen: 7, vocabSize: 256 });
  const tokenizer = bytesTokenizer();
  const whole = await evaluateText(await fake(spec, 100), tokenizer, [TEXT]);
  for (const rows of [1, 2, 5]) {
    const engine = await fake(spec, rows);
    for (const size of [1, 2, 64, 1000]) {
      const chunks = Array.from(
        { length: Math.ceil(TEXT.length / size) },
        (_, i) => TEXT.slice(i * size, (i + 1) * size),
      );
      assertEquals(await evaluateText(engine, tokenizer, chunks), whole);
    }
    assertEquals(await evaluateTokens(engine, tokenizer, tokenizer.encode(TEXT)), whole);
  }
  assertEquals(whole.bytes, new TextEncoder().encode(TEXT).length - 1);
});

Deno.test("evaluateText() takes from a long text only as much as it needs at a time", async () => {
  const spec = tinySpec({ seqLen: 50, vocabSize: 256, modelDim: 4 });
  const engine = await fake(spec, 4);
  let given = 0; // tokens
  let scored = 0;
  let mostWaiting = 0;
  function* chunks() {
    for (let i = 0; i < 30; i++) {
      given += 5000;
      mostWaiting = Math.max(mostWaiting, given - scored);
      yield "01234567 ".repeat(556).slice(0, 5000);
    }
  }
  const { tokens } = await evaluateText(engine, bytesTokenizer(), chunks(), {
    onProgress: (soFar) => scored = soFar.tokens,
  });
  assertEquals([tokens, scored], [30 * 5000 - 1, 30 * 5000 - 1]);
  assert(mostWaiting < 80_000, `${mostWaiting} tokens were waiting`);
});

Deno.test("evaluateDataset() scores the whole held-out part", async () => {
  const dataset = await tinyDataset(tinyConfig());
  const spec = deriveModel({
    ...tinyConfig().model,
    numKvHeads: 2,
    ffnDim: 16,
  }, dataset.tokenizer.vocabSize);
  for (const rows of [1, 4]) {
    const engine = await fake(spec, rows);
    const tokens = dataset.tokenizer.encode(new TextDecoder().decode(dataset.text("validation")));
    const expected = await evaluateTokens(engine, dataset.tokenizer, tokens);
    assertEquals(await evaluateDataset(engine, dataset), expected);
    assertEquals([expected.tokens, expected.bytes], [dataset.validationTokens - 1, dataset.validationBytes]);
  }
  const nothing = await tinyDataset(tinyConfig("validation.fraction=0"));
  const engine = await fake(spec, 1);
  await assertRejects(() => evaluateDataset(engine, nothing), UserError, "Nothing was held out");
});

Deno.test("evaluateTokens() has no bytes without a tokenizer, and no standard errors for a single row", async () => {
  const engine = await fake(tinySpec({ seqLen: 7 }), 2);
  const found = await evaluateTokens(engine, null, Int32Array.of(1, 2, 3));
  assertEquals([found.bitsPerByte, found.bitsPerByteStandardError, found.bytes], [null, null, null]);
  assertEquals([found.lossStandardError, found.perplexityStandardError, found.rows], [NaN, NaN, 1]);
});

Deno.test("evaluateBatches() passes over positions without a target", async () => {
  const engine = await fake(tinySpec({ seqLen: 4 }), 2);
  const batch = windowBatch(oneDocument(Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9)), 0, 2, causalRows(4));
  batch.targets.set([IGNORE, 3, IGNORE, 5]);
  const { rowLoss } = await engine.evaluate(batch);
  const { loss, tokens } = await evaluateBatches(engine, null, [batch]);
  assertEquals(tokens, 6);
  assertAlmostEquals(loss, (rowLoss[0] + rowLoss[1]) / 6, 1e-9);
});

Deno.test("evaluateText() refuses a text with nothing to predict", async () => {
  const engine = await fake(tinySpec({ vocabSize: 256 }), 1);
  for (const text of ["", "a"]) {
    await assertRejects(
      () => evaluateText(engine, bytesTokenizer(), [text]),
      UserError,
      "fewer than 2 tokens",
    );
  }
});

Deno.test("evaluateText() ends with its signal's reason", async () => {
  const engine = await fake(tinySpec({ seqLen: 5, vocabSize: 256 }), 1);
  const controller = new AbortController();
  const reason = new Error("enough");
  let batches = 0;
  const onProgress = () => ++batches === 3 && controller.abort(reason);
  const options = { signal: controller.signal, onProgress };
  await assertRejects(() => evaluateText(engine, bytesTokenizer(), [TEXT], options), Error, "enough");
  assertEquals(batches, 3);
});
