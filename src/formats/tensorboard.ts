import { UserError } from "../errors.ts";
import { cannotWrite, fileSource, quote } from "./file.ts";
import { maskedCrc32c } from "./crc32c.ts";
import { bytesField, concat, doubleField, floatField, readVarintField, varintField } from "./protobuf.ts";

const LENGTH_BYTES = 12; // u64 length and its checksum
const FRAME_BYTES = LENGTH_BYTES + 4; // and the checksum of the data

/** Appends to a TensorBoard event file. Each call is one record, written at once. */
export interface EventFile extends Disposable {
  /** Tag to value; a value may be NaN or infinite. */
  scalars(step: number, values: Readonly<Record<string, number>>): void;
  /** Markdown. */
  text(step: number, tag: string, text: string): void;
}

/**
 * Opens an event file to append to, and makes it where it is missing. TensorBoard finds files whose name contains
 * `tfevents`. After a crash, `cutBack` must come first: nothing behind a torn record is ever read.
 * @param now seconds since 1970, shown by TensorBoard as the time of the record.
 * @throws UserError if the file cannot be written.
 *
 * @example
 * using events = openEventFile("runs/my/events.out.tfevents.my");
 * events.scalars(100, { "train/loss": 2.5 });
 */
export function openEventFile(path: string, now: () => number = () => Date.now() / 1000): EventFile {
  const file = orUserError(path, () => Deno.openSync(path, { append: true, create: true }));
  const write = (...content: Uint8Array[]) => {
    const record = frame(concat(doubleField(1, now()), ...content)); // Event.wall_time
    orUserError(path, () => {
      for (let done = 0; done < record.length;) done += file.writeSync(record.subarray(done));
    });
  };
  const writeSummary = (step: number, values: Uint8Array[]) => {
    const summary = concat(...values.map((value) => bytesField(1, value))); // Summary.value
    write(varintField(2, step), bytesField(5, summary)); // Event.step, Event.summary
  };
  if (file.statSync().size === 0) write(bytesField(3, utf8("brain.Event:2"))); // Event.file_version
  return {
    scalars: (step, values) =>
      writeSummary(step, Object.entries(values).map(([tag, x]) => scalarValue(tag, x))),
    text: (step, tag, text) => writeSummary(step, [textValue(tag, text)]),
    [Symbol.dispose]: () => file.close(),
  };
}

/**
 * Drops everything from the first record whose step is greater than `step` on, and a torn record at the end, so that
 * a run resumed at `step` goes on where it left off. Steps must not fall within a file. No file: nothing to do.
 * @throws UserError if it is no event file.
 */
export function cutBack(path: string, step: number): void {
  try {
    if (Deno.statSync(path).size === 0) return;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  const { kept, size } = keptBytes(path, step);
  if (kept === 0) {
    throw new UserError(
      `${quote(path)} is no TensorBoard event file or damaged from its start; move it away`,
    );
  }
  if (kept < size) orUserError(path, () => Deno.truncateSync(path, kept));
}

/** Where the first record starts that is torn or past `step`. */
function keptBytes(path: string, step: number): { kept: number; size: number } {
  using source = fileSource(path);
  let at = 0;
  while (source.size - at >= FRAME_BYTES) {
    const header = source.read(at, new Uint8Array(LENGTH_BYTES));
    const view = new DataView(header.buffer);
    const length = Number(view.getBigUint64(0, true));
    if (view.getUint32(8, true) !== maskedCrc32c(header.subarray(0, 8))) break;
    if (length > source.size - at - FRAME_BYTES) break;
    const body = source.read(at + LENGTH_BYTES, new Uint8Array(length + 4));
    const data = body.subarray(0, length);
    if (new DataView(body.buffer).getUint32(length, true) !== maskedCrc32c(data)) break;
    if ((readVarintField(data, 2) ?? 0) > step) break; // Event.step
    at += FRAME_BYTES + length;
  }
  return { kept: at, size: source.size };
}

/** TFRecord framing: u64 length, its checksum, the data, its checksum. */
function frame(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(FRAME_BYTES + data.length);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, LENGTH_BYTES);
  view.setUint32(LENGTH_BYTES + data.length, maskedCrc32c(data), true);
  return record;
}

/** Summary.Value with tag and simple_value. */
function scalarValue(tag: string, value: number): Uint8Array {
  return concat(bytesField(1, utf8(tag)), floatField(2, value));
}

/** Summary.Value with tag, a string tensor of shape (1), and the metadata that sends it to the text plugin. */
function textValue(tag: string, text: string): Uint8Array {
  const shape = bytesField(2, varintField(1, 1)); // TensorShapeProto.dim.size
  const tensor = concat(varintField(1, 7), bytesField(2, shape), bytesField(8, utf8(text))); // DT_STRING
  const plugin = bytesField(1, utf8("text")); // SummaryMetadata.plugin_data.plugin_name
  return concat(bytesField(1, utf8(tag)), bytesField(8, tensor), bytesField(9, bytesField(1, plugin)));
}

const utf8 = (text: string) => new TextEncoder().encode(text);

function orUserError<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    cannotWrite(path, error);
  }
}
