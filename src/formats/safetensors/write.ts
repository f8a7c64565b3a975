import { createHash } from "node:crypto";
import { cannotWrite, quote } from "../file.ts";
import { type Dtype, DTYPE_BYTES } from "./dtype.ts";
import { byteLengthOf } from "./header.ts";

/** A tensor to write; `values` is called once, when its turn has come. */
export interface TensorToWrite<Values = Uint8Array | Float32Array> {
  readonly name: string;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  /** Float32Array for F32, or the raw little-endian bytes of any dtype. */
  readonly values: () => Promise<Values>;
}

/** A tensor whose raw bytes may come in parts, each of which may be overwritten once the next is asked for. */
export type StreamedTensor = TensorToWrite<Uint8Array | Float32Array | Iterable<Uint8Array>>;

/** SHA-256 in hex. */
export interface WrittenDigests {
  readonly file: string;
  /** Of each tensor's raw bytes. */
  readonly tensors: ReadonlyMap<string, string>;
}

const CHUNK_BYTES = 1 << 23;

/**
 * Writes a safetensors file, holding one tensor at a time, or a part of one, and fsyncs it. The file is not replaced
 * atomically: write into a folder that is renamed afterwards. Tensors are laid out by element size, so that each is
 * aligned to it.
 * @throws UserError if the file cannot be written; what was written of it is left.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<StreamedTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<WrittenDigests> {
  const { header, order } = layOut(tensors, metadata);
  const fileHash = createHash("sha256");
  const digests = new Map<string, string>();
  const fail = (error: unknown) => cannotWrite(path, error);
  using file = await Deno.open(path, { write: true, create: true, truncate: true }).catch(fail);

  async function append(bytes: Uint8Array) {
    fileHash.update(bytes);
    for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done)).catch(fail);
  }

  await append(header);
  for (const tensor of order) {
    const hash = createHash("sha256");
    for await (const chunk of chunksOf(tensor)) {
      hash.update(chunk);
      await append(chunk);
    }
    digests.set(tensor.name, hash.digest("hex"));
  }
  await file.sync().catch(fail);
  return { file: fileHash.digest("hex"), tensors: digests };
}

/** The bytes that writeSafetensors would write. */
export async function encodeSafetensors(
  tensors: Iterable<StreamedTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { header, order, bufferBytes } = layOut(tensors, metadata);
  const encoded = new Uint8Array(header.byteLength + bufferBytes);
  encoded.set(header);
  let at = header.byteLength;
  for (const tensor of order) {
    for await (const chunk of chunksOf(tensor)) {
      encoded.set(chunk, at);
      at += chunk.byteLength;
    }
  }
  return encoded;
}

/** The header with its length in front, padded with spaces to a multiple of 8 bytes, and the order of the tensors. */
function layOut(tensors: Iterable<StreamedTensor>, metadata: Readonly<Record<string, string>>) {
  const order = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const seen = new Set(["__metadata__"]);
  let bufferBytes = 0;
  for (const { name, dtype, shape } of order) {
    if (seen.has(name)) throw new Error(`The tensor name ${quote(name)} is reserved or used twice`);
    seen.add(name);
    const begin = bufferBytes;
    bufferBytes += byteLengthOf(dtype, shape);
    entries.push([name, { dtype, shape, data_offsets: [begin, bufferBytes] }]);
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.byteLength / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return { header, order, bufferBytes };
}

/** A tensor's bytes, chunk by chunk. @throws Error if they are not as many as its type and shape ask for */
async function* chunksOf({ name, dtype, shape, values }: StreamedTensor): AsyncGenerator<Uint8Array> {
  const found = await values();
  const expected = byteLengthOf(dtype, shape);
  const described = `The tensor ${quote(name)} is ${dtype} [${shape}] (${expected} bytes)`;
  if (found instanceof Float32Array && dtype !== "F32") {
    throw new Error(`${described}, its values are a Float32Array`);
  }
  let bytes = 0;
  for (const chunk of ArrayBuffer.isView(found) ? cut(found) : found) {
    bytes += chunk.byteLength;
    if (bytes > expected) break; // the next tensor's place
    yield chunk;
  }
  if (bytes !== expected) {
    throw new Error(`${described}, its values have ${bytes < expected ? bytes : "more"}`);
  }
}

function* cut({ buffer, byteOffset, byteLength }: Uint8Array | Float32Array): Generator<Uint8Array> {
  for (let at = 0; at < byteLength; at += CHUNK_BYTES) {
    yield new Uint8Array(buffer, byteOffset + at, Math.min(CHUNK_BYTES, byteLength - at));
  }
}
