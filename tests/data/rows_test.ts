import { assert, assertEquals } from "@std/assert";
import { type Batch, countTargets, IGNORE, sliceBatch, stackBatches } from "../../src/data/batch.ts";
import type { Architecture, ObjectiveOptions } from "../../src/data/objectives/objective.ts";
import { createRowFormat, type RowFormat } from "../../src/data/rows.ts";
import { oneDocument, windowAt, windowBatch } from "../../src/data/windows.ts";

const VOCABULARY = { vocabSize: 500, endOfText: null };
const END = 500;
const STREAM = oneDocument(Uint16Array.from({ length: 400 }, (_, i) => i + 10));

function formatOf(architecture: Architecture, kind: ObjectiveOptions["kind"], seqLen: number): RowFormat {
  const objective = { kind, noiseDensity: 0.15, meanSpanLength: 3 };
  const packing = { separate: false, restartPositions: false };
  return createRowFormat({ architecture, objective, packing, seqLen, seed: 1 }, VOCABULARY);
}

/** What a row's decoder reads and predicts, in one, and the first position that predicts. */
function decoderRow(batch: Batch, row = 0): { tokens: number[]; first: number } {
  const { inputs, targets } = sliceBatch(batch, row, row + 1);
  const first = targets.findIndex((id) => id !== IGNORE);
  const last = targets.findLastIndex((id) => id !== IGNORE);
  for (let t = first; t < last; t++) assertEquals(targets[t], inputs[t + 1]);
  assert(inputs.subarray(last + 1).every((id) => id === 0));
  return { tokens: [...inputs.subarray(0, last + 1), targets[last]], first };
}

/** The source tokens of a row; fails unless exactly these are seen. */
function sourceRow(batch: Batch, row = 0): number[] {
  const { columns, source } = sliceBatch(batch, row, row + 1);
  assert(source?.spans !== undefined && source.crossSpans !== undefined);
  assertEquals([source.columns, source.inputs.length], [columns, columns]);
  const length = source.spans[1];
  const expected = Array.from({ length: columns }, () => [0, length]).flat();
  assertEquals([[...source.spans], [...source.crossSpans]], [expected, expected]);
  assert(source.inputs.subarray(length).every((id) => id === 0));
  return [...source.inputs.subarray(0, length)];
}

Deno.test("createRowFormat() loses no token of a prefix or causal row, on any architecture", () => {
  for (const kind of ["causal", "prefix"] as const) {
    for (const T of [2, 3, 5, 65]) {
      const rows = 4;
      const window = (row: number) => [...windowAt(STREAM, row * T, T + 1, row).tokens];
      const causal = windowBatch(STREAM, 0, rows, formatOf("causalDecoder", kind, T));
      const nonCausal = windowBatch(STREAM, 0, rows, formatOf("nonCausalDecoder", kind, T));
      const both = windowBatch(STREAM, 0, rows, formatOf("encoderDecoder", kind, T));
      assertEquals([causal.spans, causal.places, causal.source], [undefined, undefined, undefined]);
      assertEquals([countTargets(nonCausal), countTargets(both)], Array(2).fill(countTargets(causal)));
      assertEquals(nonCausal.targets, causal.targets);
      for (let row = 0; row < rows; row++) {
        const { tokens, first } = decoderRow(causal, row);
        assertEquals(tokens, window(row));
        if (kind === "causal") {
          assertEquals(first, 0);
          assertEquals(sourceRow(both, row), [END]);
          assertEquals(decoderRow(both, row), { tokens, first: 0 });
        } else {
          assert(first < T - 1);
          assertEquals(sourceRow(both, row), tokens.slice(0, first + 1));
          assertEquals(decoderRow(both, row), { tokens: [END, ...tokens.slice(first + 1)], first: 0 });
        }
        const given = kind === "causal" ? 0 : first + 1;
        const spans = Array.from({ length: T }, (_, t) => [0, Math.max(t + 1, given)]);
        assertEquals([...sliceBatch(nonCausal, row, row + 1).spans!], spans.flat());
      }
    }
  }
});

Deno.test("createRowFormat() puts a span's inputs before its targets, or into the encoder", () => {
  const T = 65;
  const both = windowBatch(STREAM, 0, 3, formatOf("encoderDecoder", "span", T));
  const decoders = [formatOf("causalDecoder", "span", T), formatOf("nonCausalDecoder", "span", T)];
  const [causal, nonCausal] = decoders.map((format) => windowBatch(STREAM, 0, 3, format));
  assertEquals(nonCausal.targets, causal.targets);
  assertEquals(causal.spans, undefined);
  for (let row = 0; row < 3; row++) {
    const { tokens, first } = decoderRow(causal, row);
    assertEquals([tokens[first], tokens[first + 1]], [END, END + 1]); // the inputs end, the first sentinel comes
    assert(tokens.length - 1 <= T);
    const seen = sliceBatch(nonCausal, row, row + 1).spans!;
    assertEquals([...seen.subarray(0, 2)], [0, first + 1]);
    const source = sourceRow(both, row);
    const output = decoderRow(both, row);
    assertEquals([source.at(-1), output.tokens[0], output.tokens[1], output.first], [END, END, END + 1, 0]);
    // what the encoder reads is text with sentinels, and the two make up the window
    const text = [...source, ...output.tokens].filter((id) => id < END).sort((a, b) => a - b);
    const { windowLength } = formatOf("encoderDecoder", "span", T);
    assertEquals(text, [...windowAt(STREAM, row * (windowLength - 1), windowLength, row).tokens]);
  }
});

Deno.test("createRowFormat() makes a row from seed and sample alone, with spans that never fall", () => {
  const T = 37;
  for (const kind of ["causal", "prefix", "span"] as const) {
    for (const architecture of ["causalDecoder", "nonCausalDecoder", "encoderDecoder"] as const) {
      const format = formatOf(architecture, kind, T);
      const rows = windowBatch(STREAM, 3, 4, format);
      const single = [3, 4, 5, 6].map((row) => windowBatch(STREAM, row, 1, format));
      assertEquals(stackBatches(single), sliceBatch(rows, 0, 4));
      for (const spans of [rows.spans, rows.source?.spans, rows.source?.crossSpans]) {
        spans?.forEach((bound, i) => assert(i % (2 * T) < 2 || bound >= spans[i - 2]));
      }
      const window = windowAt(STREAM, 0, format.windowLength, 0);
      const [first, second, far] = [0, 5, 2 ** 32].map((from) =>
        format.batch([0, 1, 2, 3, 4].map((i) => ({ ...window, sampleId: from + i })))
      );
      assertEquals(far.sampleIds, first.sampleIds); // but the objective draws from the whole number
      for (const other of [second, far]) {
        assertEquals(String(other.targets) === String(first.targets), kind === "causal");
      }
    }
  }
});

Deno.test("createRowFormat() pads the row of a short window", () => {
  for (const kind of ["causal", "prefix", "span"] as const) {
    for (const architecture of ["causalDecoder", "nonCausalDecoder", "encoderDecoder"] as const) {
      for (const length of [2, 3, 5]) {
        const batch = formatOf(architecture, kind, 33).batch([windowAt(STREAM, 0, length, 1)]);
        const { tokens } = decoderRow(batch);
        const source = architecture === "encoderDecoder" ? sourceRow(batch) : [];
        const text = [...source, ...tokens].filter((id) => id < END).sort((a, b) => a - b);
        assertEquals(text, [...STREAM.tokens.subarray(0, length)]);
      }
    }
  }
});
