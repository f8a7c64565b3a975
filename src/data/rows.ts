import { drawer, Stream } from "../random.ts";
import { type Batch, IGNORE, type SourceRows, type Spans } from "./batch.ts";
import { createObjective, type Example, type ObjectiveContext } from "./objectives/objective.ts";
import { type ObjectiveTokens, objectiveTokens, type Vocabulary } from "./objectives/vocabulary.ts";
import { type PackingOptions, separateDocuments } from "./packing.ts";
import type { TextWindow } from "./windows.ts";

/** What decides how a window of text becomes a row of a batch. */
export interface RowOptions extends ObjectiveContext {
  readonly packing: PackingOptions;
  /** Of what an objective draws: a row is a function of (seed, sample id) and its window alone. */
  readonly seed: number;
}

/** How windows of text become rows. */
export interface RowFormat {
  /** Tokens of text in a whole row, W; the next window starts at the last one. */
  readonly windowLength: number;
  /**
   * A row (T) for each window. Whatever the windows, a format's batches have the same fields:
   * `spans` for a non-causal decoder and for separate documents, `places` where positions restart, and for an encoder
   * and decoder `source` of seqLen columns with its `spans` and `crossSpans`.
   */
  batch(windows: readonly TextWindow[]): Batch;
}

/** The rows of a plain GPT: what is read where nothing else is asked for. */
export const CAUSAL_ROWS = {
  architecture: "causalDecoder",
  objective: { kind: "causal", noiseDensity: 0.15, meanSpanLength: 3 },
  packing: { separate: false, restartPositions: false },
} as const satisfies Partial<RowOptions>;

/** Rows of a causal decoder that reads all of its window and predicts each token but the first. */
export function causalRows(seqLen: number): RowFormat {
  return createRowFormat({ ...CAUSAL_ROWS, seqLen, seed: 0 }, { vocabSize: 0, endOfText: null });
}

/**
 * The rows of an objective, for an architecture. `checkObjective` says which combinations make sense.
 *
 * A decoder reads an example's tokens one after the other; those that are given and come before the last given one have
 * no target, and a non-causal decoder's given tokens see one another. An encoder reads the given tokens, or the end token
 * where none is given; the decoder then starts with the start token (or the example's first) and predicts the others.
 *
 * @param vocabulary the tokenizer's
 */
export function createRowFormat(options: RowOptions, vocabulary: Vocabulary): RowFormat {
  const { architecture, packing, seqLen, seed } = options;
  const objective = createObjective(options, vocabulary);
  const special = objectiveTokens(vocabulary);
  return {
    windowLength: objective.windowLength,
    batch(windows) {
      const examples = windows.map(({ tokens, sampleId }) =>
        objective.example(tokens, drawer(seed, Stream.objective, sampleId))
      );
      const sampleIds = Uint32Array.from(windows, ({ sampleId }) => sampleId); // (B) modulo 2^32
      if (architecture === "encoderDecoder") return encoderDecoderBatch(examples, sampleIds, seqLen, special);
      const batch = decoderBatch(examples, sampleIds, seqLen);
      if (architecture === "nonCausalDecoder") return { ...batch, spans: prefixSpans(examples, seqLen) };
      if (!packing.separate) return batch;
      const starts = windows.map(({ documentStarts }) => documentStarts);
      return separateDocuments(batch, starts, packing.restartPositions);
    },
  };
}

/** Tokens in order, each with the next one as its target from the last given one on; padded at the right. */
function decoderBatch(examples: readonly Example[], sampleIds: Uint32Array, columns: number): Batch {
  const inputs = new Int32Array(examples.length * columns); // (B, T)
  const targets = new Int32Array(examples.length * columns).fill(IGNORE); // (B, T)
  examples.forEach(({ tokens, given }, row) => {
    const first = Math.max(0, given - 1);
    inputs.set(tokens.subarray(0, -1), row * columns);
    targets.set(tokens.subarray(first + 1), row * columns + first);
  });
  return { rows: examples.length, columns, inputs, targets, sampleIds };
}

/** (B, T, 2): the given tokens see one another, the others those up to themselves. */
function prefixSpans(examples: readonly Example[], columns: number): Spans {
  return spansTo(examples, columns, ({ given }, t) => Math.max(t + 1, given));
}

function encoderDecoderBatch(
  examples: readonly Example[],
  sampleIds: Uint32Array,
  columns: number,
  { start, end }: ObjectiveTokens,
): Batch {
  const sources = examples.map(({ tokens, given }) =>
    given > 0 ? tokens.subarray(0, given) : Int32Array.of(end)
  );
  const inputs = new Int32Array(examples.length * columns); // (B, S)
  sources.forEach((tokens, row) => inputs.set(tokens, row * columns));
  const spans = spansTo(sources, columns, ({ length }) => length); // whatever reads the source passes its padding over
  const source: SourceRows = { columns, inputs, spans, crossSpans: spans };
  return { ...decoderBatch(examples.map((example) => outputOf(example, start)), sampleIds, columns), source };
}

/** What a decoder behind an encoder reads and predicts. */
function outputOf({ tokens, given }: Example, start: number): Example {
  if (given === 0) return { tokens, given };
  const output = new Int32Array(1 + tokens.length - given);
  output[0] = start;
  output.set(tokens.subarray(given), 1);
  return { tokens: output, given: 0 };
}

/** (B, T, 2) from column 0 to one that the row and the column decide. */
function spansTo<Row>(
  rows: readonly Row[],
  columns: number,
  to: (row: Row, column: number) => number,
): Spans {
  const spans = new Uint32Array(rows.length * columns * 2);
  rows.forEach((row, b) => {
    for (let t = 0; t < columns; t++) spans[2 * (b * columns + t) + 1] = to(row, t);
  });
  return spans;
}
