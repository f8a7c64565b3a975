import { type Batch, countTargets, IGNORE, type SourceRows, type Spans } from "../data/batch.ts";
import { POSITIONS } from "../config/axes.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import type { TensorSource } from "../formats/safetensors.ts";
import type { CaseModel } from "./caseModel.ts";
import { expectShape, readIds, shapeOf } from "./tensors.ts";

/**
 * The batch of a reference case.
 *
 * @throws UserError for a tensor that is missing, of another shape, or holds what it can't
 */
export function readCaseBatch(reference: TensorSource, { spec, packing }: CaseModel): Batch {
  const hasEncoder = spec.numEncoderLayers > 0;
  const input = hasEncoder ? "decoder_input_ids" : "input_ids";
  const shape = rowsShape(reference, input);
  const [rows, columns] = shape;
  const most = POSITIONS[spec.positions].rowPerPlace ? spec.seqLen : Infinity;
  if (columns > most) {
    throw new UserError(
      `The rows of ${quote(reference.name)} have ${columns} tokens, config.json allows ${most}`,
    );
  }
  const batch: Batch = {
    rows,
    columns,
    inputs: readIds(reference, input, shape, spec.vocabSize),
    targets: readIds(reference, "labels", shape, spec.vocabSize, IGNORE),
    sampleIds: Uint32Array.from({ length: rows }, (_, row) => row),
    ...(spec.architecture === "nonCausalDecoder" ? { spans: prefixSpans(reference, rows, columns) } : {}),
    ...(packing.separate ? documents(reference, rows, columns, packing.restartPositions) : {}),
    ...(hasEncoder ? { source: readSource(reference, rows, columns, spec.vocabSize) } : {}),
  };
  if (countTargets(batch) === 0) {
    throw new UserError(`All labels of ${quote(reference.name)} are ${IGNORE}, expected at least one target`);
  }
  return batch;
}

/** (rows, columns) of token ids, at least one of each. */
function rowsShape(reference: TensorSource, name: string): readonly [number, number] {
  const [rows, columns, ...more] = shapeOf(reference, name);
  if (rows > 0 && columns > 0 && more.length === 0) return [rows, columns];
  throw new UserError(
    `The tensor ${quote(name)} of ${quote(reference.name)} has shape [${
      shapeOf(reference, name)
    }], expected rows of token ids`,
  );
}

/** A span for each token. @returns (B, T, 2) */
function spansOf(
  rows: number,
  columns: number,
  span: (row: number, column: number) => [number, number],
): Spans {
  const spans = new Uint32Array(2 * rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      spans.set(span(row, column), 2 * (row * columns + column));
    }
  }
  return spans;
}

/** Tokens of the prefix see all of it, those behind it all up to themselves. */
function prefixSpans(reference: TensorSource, rows: number, columns: number): Spans {
  const lengths = readIntegers(reference, "prefix_len", [rows], 0, columns); // (B)
  return spansOf(rows, columns, (row, column) => [0, Math.max(column + 1, lengths[row])]);
}

/** Documents in a row that don't see one another, and where their tokens stand. */
function documents(
  reference: TensorSource,
  rows: number,
  columns: number,
  restart: boolean,
): Pick<Batch, "spans" | "places"> {
  const ids = readIntegers(reference, "doc_ids", [rows, columns], 0, 2 ** 31 - 1); // (B, T)
  const starts = new Uint32Array(rows * columns); // (B, T) the column in which a token's document begins
  for (let at = 0; at < ids.length; at++) {
    const column = at % columns;
    const row = ids.subarray(at - column, at);
    const isNew = column === 0 || ids[at] !== ids[at - 1];
    if (isNew && row.includes(ids[at])) {
      throw new UserError(
        `The tensor "doc_ids" of ${quote(reference.name)} has document ${
          ids[at]
        } in two places of a row, expected one`,
      );
    }
    starts[at] = isNew ? column : starts[at - 1];
  }
  return {
    spans: spansOf(rows, columns, (row, column) => [starts[row * columns + column], column + 1]),
    ...(restart ? { places: starts.map((start, at) => at % columns - start) } : {}),
  };
}

/** The encoder's rows: tokens, then padding that nobody looks at. */
function readSource(reference: TensorSource, rows: number, columns: number, vocabSize: number): SourceRows {
  const [, S] = rowsShape(reference, "input_ids");
  const shape = [rows, S];
  const mask = readIntegers(reference, "attention_mask", shape, 0, 1); // (B, S)
  const lengths = Array.from({ length: rows }, (_, row) => {
    const of = mask.subarray(row * S, (row + 1) * S);
    const length = of.indexOf(0) < 0 ? S : of.indexOf(0);
    if (length > 0 && !of.includes(1, length)) return length;
    throw new UserError(
      `Row ${row} of "attention_mask" of ${
        quote(reference.name)
      } is no run of 1 with 0 behind it, expected padding at the end`,
    );
  });
  return {
    columns: S,
    inputs: readIds(reference, "input_ids", shape, vocabSize),
    spans: spansOf(rows, S, (row) => [0, lengths[row]]),
    crossSpans: spansOf(rows, columns, (row) => [0, lengths[row]]),
  };
}

/** Values from `from` to `to`. */
function readIntegers(
  reference: TensorSource,
  name: string,
  shape: readonly number[],
  from: number,
  to: number,
): Int32Array<ArrayBuffer> {
  expectShape(reference, name, shape);
  const values = reference.readInt(name);
  const at = values.findIndex((value) => value < from || value > to);
  if (at < 0) return values;
  throw new UserError(
    `The tensor ${quote(name)} of ${quote(reference.name)} holds ${
      values[at]
    } at ${at}, expected ${from} to ${to}`,
  );
}
