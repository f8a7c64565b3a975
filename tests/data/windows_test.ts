import { assert, assertEquals } from "@std/assert";
import { countTargets, IGNORE } from "../../src/data/batch.ts";
import { trainBpe } from "../../src/data/tokenizers/bpeTrainer.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { causalRows, createRowFormat } from "../../src/data/rows.ts";
import {
  countWindows,
  encodeChunks,
  oneDocument,
  textBatches,
  windowAt,
  windowBatch,
} from "../../src/data/windows.ts";
import { ENGLISH, randomText } from "./tokenizers/testTexts.ts";

/** A text in chunks of awkward sizes, which also cut surrogate pairs. */
function chunksOf(text: string, sizes: readonly number[]): string[] {
  const chunks: string[] = [];
  for (let at = 0, i = 0; at < text.length; i++) {
    chunks.push(text.slice(at, at + sizes[i % sizes.length]));
    at += sizes[i % sizes.length];
  }
  return chunks;
}

Deno.test("windowBatch() makes every token but the first a target once", () => {
  for (const [numTokens, T] of [[0, 3], [1, 3], [2, 3], [4, 3], [5, 3], [98, 1], [98, 65], [65, 64]]) {
    const tokens = Uint16Array.from({ length: numTokens }, (_, i) => i + 10);
    const rows = countWindows(numTokens, T + 1);
    const batch = windowBatch(oneDocument(tokens), 0, rows, causalRows(T));
    assertEquals([...batch.targets].filter((id) => id !== IGNORE), [...tokens.subarray(1)]);
    batch.targets.forEach((target, i) => assertEquals(batch.inputs[i], target === IGNORE ? 0 : target - 1));
    assertEquals([...batch.sampleIds], Array.from({ length: rows }, (_, i) => i));
  }
});

Deno.test("textBatches() gives the windows of the whole text, whatever the chunks and rows", async () => {
  const text = ENGLISH.repeat(3) + randomText(3, 200);
  const tokenizer = trainBpe(ENGLISH, 300);
  const tokens = tokenizer.encode(text);
  for (
    const [T, rows, sizes] of [[5, 1, [1]], [7, 3, [3, 65, 1]], [1, 4, [1000]], [5000, 2, [17]]] as const
  ) {
    const format = causalRows(T);
    const expected = windowBatch(oneDocument(tokens), 0, countWindows(tokens.length, T + 1), format);
    const inputs: number[] = [], targets: number[] = [], ids: number[] = [];
    for await (const batch of textBatches(tokenizer, chunksOf(text, sizes), format, rows)) {
      assert(batch.rows >= 1 && batch.rows <= rows);
      inputs.push(...batch.inputs);
      targets.push(...batch.targets);
      ids.push(...batch.sampleIds);
    }
    assertEquals(inputs, [...expected.inputs]);
    assertEquals(targets, [...expected.targets]);
    assertEquals(ids, [...expected.sampleIds]);
  }
});

Deno.test("windowAt() knows where documents start within the window", () => {
  const stream = {
    tokens: Uint16Array.from({ length: 12 }, (_, i) => i),
    documents: Uint32Array.of(0, 3, 4, 9, 11),
  };
  const at = (start: number, length: number) => {
    const { tokens, documentStarts } = windowAt(stream, start, length, 0);
    return [[...tokens], documentStarts];
  };
  assertEquals(at(0, 5), [[0, 1, 2, 3, 4], [3, 4]]);
  assertEquals(at(3, 3), [[3, 4, 5], [1]]);
  assertEquals(at(4, 5), [[4, 5, 6, 7, 8], []]);
  assertEquals(at(5, 5), [[5, 6, 7, 8, 9], [4]]);
  assertEquals(at(10, 5), [[10, 11], [1]]);
});

Deno.test("textBatches() gives a row the same draws, whatever the rows at once", async () => {
  const objective = { kind: "prefix", noiseDensity: 0.15, meanSpanLength: 3 } as const;
  const packing = { separate: false, restartPositions: false };
  const tokenizer = bytesTokenizer();
  const architecture = "nonCausalDecoder";
  const format = createRowFormat({ architecture, objective, packing, seqLen: 11, seed: 3 }, tokenizer);
  const targets = async (rows: number) => {
    const batches = await Array.fromAsync(textBatches(tokenizer, [ENGLISH], format, rows));
    return batches.flatMap((batch) => [...batch.targets]);
  };
  assertEquals(await targets(1), await targets(3));
});

Deno.test("textBatches() ends where the text fills its last batch", async () => {
  const counts: number[] = [];
  for await (const batch of textBatches(bytesTokenizer(), ["abcdefg"], causalRows(3), 2)) {
    counts.push(countTargets(batch));
  }
  assertEquals(counts, [6]);
  for await (const _ of textBatches(bytesTokenizer(), ["a", ""], causalRows(3), 2)) {
    assert(false, "one token has no target");
  }
});

Deno.test("encodeChunks() hands out a long text in parts that have the tokens of the whole", async () => {
  const tokenizer = trainBpe(ENGLISH, 300);
  const text = ENGLISH.repeat(1000) + randomText(4, 1000);
  const ids: number[][] = [];
  for await (const part of encodeChunks(tokenizer, chunksOf(text, [100_001, 7]))) ids.push([...part]);
  assert(ids.length >= 4);
  assert(ids.every((part) => part.length <= 1 << 17));
  assertEquals(ids.flat(), [...tokenizer.encode(text)]);
});

Deno.test("encodeChunks() cuts a text without boundaries rather than hold all of it", async () => {
  const text = "🙂".repeat(600_000); // 1.2 million UTF-16 units
  const tokenizer = trainBpe(ENGLISH, 300);
  const decoded: string[] = [];
  for await (const part of encodeChunks(tokenizer, [text])) decoded.push(tokenizer.decode(part));
  assertEquals(decoded.length, 2);
  assert(decoded.join("") === text);
});
