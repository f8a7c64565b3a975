import { assertEquals } from "@std/assert";
import { IGNORE } from "../../src/data/batch.ts";
import { createRowFormat, type RowFormat } from "../../src/data/rows.ts";
import { windowBatch } from "../../src/data/windows.ts";

function packed(seqLen: number, restartPositions: boolean): RowFormat {
  return createRowFormat({
    architecture: "causalDecoder",
    objective: { kind: "causal", noiseDensity: 0.15, meanSpanLength: 3 },
    packing: { separate: true, restartPositions },
    seqLen,
    seed: 1,
  }, { vocabSize: 100, endOfText: null });
}

Deno.test("separateDocuments() shows a token its own document, and predicts no other's first token", () => {
  // documents of 3, 1, 4 and 2 tokens
  const stream = {
    tokens: Uint16Array.of(10, 11, 12, 20, 30, 31, 32, 33, 40, 41),
    documents: Uint32Array.of(0, 3, 4, 8),
  };
  const batch = windowBatch(stream, 0, 2, packed(6, true));
  const pairs = (spans: readonly (readonly number[])[]) => spans.flat();
  assertEquals([...batch.inputs], [10, 11, 12, 20, 30, 31, 32, 33, 40, 0, 0, 0]);
  assertEquals(
    [...batch.targets],
    [11, 12, IGNORE, IGNORE, 31, 32, 33, IGNORE, 41, IGNORE, IGNORE, IGNORE],
  );
  assertEquals([...batch.places!], [0, 1, 2, 0, 0, 1, 0, 1, 0, 1, 2, 3]); // a row that begins within a document counts from there
  assertEquals(
    [...batch.spans!],
    pairs([[0, 1], [0, 2], [0, 3], [3, 4], [4, 5], [4, 6], [0, 1], [0, 2], [2, 3], [2, 4], [2, 5], [2, 6]]),
  );
  const goingOn = windowBatch(stream, 0, 2, packed(6, false));
  assertEquals([goingOn.places, goingOn.spans, goingOn.targets], [undefined, batch.spans, batch.targets]);
});

Deno.test("separateDocuments() has no target where the next row's first token starts a document", () => {
  const stream = { tokens: Uint16Array.of(1, 2, 3, 4, 5), documents: Uint32Array.of(0, 2, 4) };
  for (const [row, targets] of [[0, [2, IGNORE]], [1, [4, IGNORE]]] as const) {
    assertEquals([...windowBatch(stream, row, 1, packed(2, true)).targets], [...targets]);
  }
});

Deno.test("separateDocuments() leaves documents of one token without a target", () => {
  const stream = { tokens: Uint16Array.of(1, 2, 3, 4), documents: Uint32Array.of(0, 1, 2, 3) };
  const { targets, spans, places } = windowBatch(stream, 0, 1, packed(3, true));
  assertEquals([...targets], [IGNORE, IGNORE, IGNORE]);
  assertEquals([...spans!], [0, 1, 1, 2, 2, 3]);
  assertEquals([...places!], [0, 0, 0]);
});
