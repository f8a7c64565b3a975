import { UserError } from "../../errors.ts";
import { type ByteSource, fileSource, memorySource, messageOf, quote } from "../file.ts";
import { TO_FLOAT32, TO_INT32 } from "./dtype.ts";
import { readHeader, type TensorInfo } from "./header.ts";

/**
 * Named tensors, each read when asked for: memory stays near one tensor. Every read gives a fresh array; of what comes in
 * parts, each is overwritten once the next is asked for.
 */
export interface TensorSource extends Disposable {
  /** What error messages call it: the path. */
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Row-major values of an F32, F16, BF16 or F64 tensor (F64 rounded). @throws UserError for another dtype. */
  read(tensor: string): Float32Array<ArrayBuffer>;
  /** Row-major values of an I64, I32, U8 or BOOL tensor. @throws UserError for another dtype or past 32 bits. */
  readInt(tensor: string): Int32Array<ArrayBuffer>;
  /** The raw little-endian bytes. */
  readBytes(tensor: string): Uint8Array<ArrayBuffer>;
  /** As `read`, in parts. */
  readParts(tensor: string): Iterable<Float32Array<ArrayBuffer>>;
  /** As `readBytes`, in parts of at most a MiB. */
  readByteParts(tensor: string): Iterable<Uint8Array<ArrayBuffer>>;
}

/** A multiple of every type's size. */
const PART_BYTES = 2 ** 20;

/**
 * Opens a safetensors file. The header is checked whole, values are read on demand.
 * @throws UserError if the file is missing, damaged or no safetensors file.
 *
 * @example
 * using file = openSafetensors("model.safetensors");
 * const embedding = file.read("wte.weight");
 */
export function openSafetensors(path: string): TensorSource {
  const source = fileSource(path);
  try {
    return tensorSource(source);
  } catch (error) {
    source[Symbol.dispose]();
    throw error;
  }
}

/** As openSafetensors, from bytes in memory; `name` is for error messages. */
export function parseSafetensors(bytes: Uint8Array, name = "safetensors bytes"): TensorSource {
  return tensorSource(memorySource(bytes, name));
}

function tensorSource(source: ByteSource): TensorSource {
  const { metadata, tensors } = readHeader(source);

  function find(tensor: string) {
    const found = tensors.get(tensor);
    if (found) return found;
    throw new UserError(
      `${quote(source.name)} has no tensor ${quote(tensor)}; check that it is the right file`,
    );
  }

  function readBytes(tensor: string) {
    const { info, start } = find(tensor);
    return source.read(start, new Uint8Array(info.byteLength));
  }

  function* readByteParts(tensor: string) {
    const { info: { byteLength }, start } = find(tensor);
    let part = new Uint8Array(Math.min(PART_BYTES, byteLength));
    for (let at = 0; at < byteLength; at += part.length) {
      if (part.length > byteLength - at) part = new Uint8Array(byteLength - at);
      yield source.read(start + at, part);
    }
  }

  function convert<T>(
    tensor: string,
    converters: Record<string, (raw: ArrayBuffer) => T>,
    bytes = () => readBytes(tensor),
  ): T {
    const { dtype } = find(tensor).info;
    const described = `The tensor ${quote(tensor)} of ${quote(source.name)}`;
    if (!Object.hasOwn(converters, dtype)) {
      throw new UserError(`${described} is ${dtype}, expected one of ${Object.keys(converters).join(", ")}`);
    }
    try {
      return converters[dtype](bytes().buffer);
    } catch (error) {
      throw error instanceof RangeError ? new UserError(`${described}: ${messageOf(error)}`) : error;
    }
  }

  function* readParts(tensor: string) {
    for (const part of readByteParts(tensor)) yield convert(tensor, TO_FLOAT32, () => part);
  }

  return {
    name: source.name,
    metadata,
    tensors: new Map(tensors.entries().map(([tensor, { info }]) => [tensor, info])),
    read: (tensor) => convert(tensor, TO_FLOAT32),
    readInt: (tensor) => convert(tensor, TO_INT32),
    readBytes,
    readParts,
    readByteParts,
    [Symbol.dispose]: () => source[Symbol.dispose](),
  };
}
