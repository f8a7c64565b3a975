import { UserError } from "../../errors.ts";
import { type ByteSource, quote } from "../file.ts";
import { type Dtype, DTYPE_BYTES, isDtype } from "./dtype.ts";
import { JsonCursor } from "./jsonCursor.ts";

/** The largest header that the reference implementation reads. */
export const MAX_HEADER_BYTES = 100_000_000;
const MAX_DIMENSIONS = 64;

export interface TensorInfo {
  readonly dtype: Dtype;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  readonly byteLength: number;
}

export interface Header {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the header; `start` counts from the start of the file. */
  readonly tensors: ReadonlyMap<string, { readonly info: TensorInfo; readonly start: number }>;
}

type Entry = { dtype: Dtype; shape: number[]; begin: number; end: number };

/**
 * Reads and checks everything but the values, so that nothing later depends on what the file claims.
 * Format: https://huggingface.co/docs/safetensors (u64 header length, JSON header, buffer without holes).
 * @throws UserError if the file is damaged or no safetensors file.
 */
export function readHeader(source: ByteSource): Header {
  const name = quote(source.name);
  if (source.size < 8) {
    throw new UserError(
      `${name} has ${source.size} bytes, too few for a safetensors file; get the file again`,
    );
  }
  const headerBytes = Number(new DataView(source.read(0, new Uint8Array(8)).buffer).getBigUint64(0, true));
  const limit = Math.min(MAX_HEADER_BYTES, source.size - 8);
  if (headerBytes > limit) {
    throw new UserError(
      `${name} claims a header of ${headerBytes} bytes, expected at most ${limit}; it is cut off or no safetensors file`,
    );
  }
  const { metadata, entries } = parseHeader(decode(source.read(8, new Uint8Array(headerBytes)), name), name);
  checkLayout(entries, source.size - 8 - headerBytes, name);
  const tensors = entries.entries().map(([key, { dtype, shape, begin, end }]) => {
    return [key, {
      info: { dtype, shape, byteLength: end - begin },
      start: 8 + headerBytes + begin,
    }] as const;
  });
  return { metadata, tensors: new Map(tensors) };
}

function decode(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError(`The header of ${name} is not UTF-8; the file is damaged or no safetensors file`);
  }
}

function parseHeader(text: string, name: string) {
  const cursor = new JsonCursor(text, `The header of ${name}`);
  const metadata: [string, string][] = [];
  const entries = new Map<string, Entry>();
  cursor.object((key) => {
    if (key === "__metadata__") cursor.object((metaKey) => metadata.push([metaKey, cursor.string()]));
    else entries.set(key, parseEntry(cursor, `tensor ${quote(key)} of ${name}`));
  });
  cursor.end();
  return { metadata: Object.fromEntries(metadata), entries };
}

/** `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}` */
function parseEntry(cursor: JsonCursor, tensor: string): Entry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  cursor.object((key) => {
    if (key === "dtype") dtype = cursor.string();
    else if (key === "shape") shape = cursor.numbers(MAX_DIMENSIONS);
    else if (key === "data_offsets") offsets = cursor.numbers(2);
    else cursor.skipScalar();
  });
  if (dtype === undefined || shape === undefined || offsets?.length !== 2) {
    throw new UserError(`The ${tensor} lacks dtype, shape or its two data_offsets; the file is damaged`);
  }
  if (!isDtype(dtype)) {
    const known = Object.keys(DTYPE_BYTES).join(", ");
    throw new UserError(`The ${tensor} has the unknown dtype ${quote(dtype)}, expected one of ${known}`);
  }
  const [begin, end] = offsets;
  if (![begin, end, ...shape].every((n) => Number.isSafeInteger(n) && n >= 0)) {
    const found = `shape ${quote(shape)} and data_offsets ${quote(offsets)}`;
    throw new UserError(`The ${tensor} has ${found}, expected whole numbers from 0; the file is damaged`);
  }
  const bytes = byteLengthOf(dtype, shape);
  if (end - begin !== bytes) {
    const expected = bytes <= Number.MAX_SAFE_INTEGER ? `${bytes} bytes` : "more bytes than can be counted";
    const found = `data_offsets ${quote(offsets)} (${end - begin} bytes)`;
    throw new UserError(
      `The ${tensor} has ${found}, but ${dtype} ${quote(shape)} takes ${expected}; the file is damaged`,
    );
  }
  return { dtype, shape, begin, end };
}

/** Infinity if any product on the way is past what a number holds exactly. */
export function byteLengthOf(dtype: Dtype, shape: readonly number[]): number {
  const exact = (n: number) => n <= Number.MAX_SAFE_INTEGER ? n : Infinity;
  const elements = shape.reduce((product, n) => product === Infinity ? Infinity : exact(product * n), 1);
  return exact(elements * DTYPE_BYTES[dtype]);
}

/** The tensors must fill the buffer from end to end, each byte once. */
function checkLayout(entries: ReadonlyMap<string, Entry>, bufferBytes: number, name: string): void {
  const inOrder = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const [key, { begin, end }] of inOrder) {
    if (begin !== covered) {
      const fault = begin < covered ? "overlaps the one before it" : "leaves a hole before it";
      throw new UserError(
        `The tensor ${
          quote(key)
        } of ${name} starts at ${begin} and ${fault}, expected ${covered}; the file is damaged`,
      );
    }
    covered = end;
  }
  if (covered !== bufferBytes) {
    const advice = covered > bufferBytes ? "the file is cut off, get it again" : "the file is damaged";
    throw new UserError(
      `The tensors of ${name} take ${covered} bytes, but the file holds ${bufferBytes}; ${advice}`,
    );
  }
}
