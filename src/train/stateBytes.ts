/** A training's whole state as bytes, for another node: a header with the trainer's state, then the tensors. */
import type { Engine, EngineReport } from "../engine/engine.ts";
import { readAhead, type StateTensor } from "../engine/readAhead.ts";
import { checked } from "../formats/checked.ts";
import { stateSchema, type TrainState } from "./state.ts";

/** A longer chunk is never made. */
export const CHUNK_BYTES = 2 ** 20;
/** A longer header is never made, nor read. */
const MAX_HEADER_BYTES = 2 ** 16;
const LENGTH_BYTES = 4;

/** A copy of a state. */
export interface StateBytes {
  readonly bytes: number;
  /** At most CHUNK_BYTES each. */
  chunks(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** Copies a state to the host, where it stays as it is. @param state the engine's */
export async function copyState(engine: Engine, state: TrainState): Promise<StateBytes> {
  const header = new TextEncoder().encode(JSON.stringify(state));
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, header.length, true);
  const parts: Uint8Array[] = [length, header];
  for (const read of readAhead(engine, stateTensors(engine.report))) {
    const { buffer, byteOffset, byteLength } = await read();
    parts.push(new Uint8Array(buffer, byteOffset, byteLength));
  }
  const bytes = parts.reduce((sum, { length }) => sum + length, 0);
  return { bytes, chunks: () => ReadableStream.from(chunksOf(parts)) };
}

/**
 * Puts a state on the engine that `copyState` has copied from another.
 *
 * @returns the trainer's part of it
 * @throws Error if the bytes end too soon, go on too long or are no such state; what the chunks throw. The engine's
 * state is then no longer whole
 */
export async function takeState(
  engine: Engine,
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
): Promise<TrainState> {
  const reader = new ByteReader(chunks);
  const headerBytes = new DataView((await reader.take(LENGTH_BYTES)).buffer).getUint32(0, true);
  if (headerBytes > MAX_HEADER_BYTES) throw new Error(`A state's header of ${headerBytes} bytes is none`);
  const json = JSON.parse(new TextDecoder().decode(await reader.take(headerBytes)));
  const state = checked(stateSchema, json, "The other node's state");
  for (const { kind, name, length } of stateTensors(engine.report)) {
    await engine.write(kind, name, new Float32Array((await reader.take(4 * length)).buffer));
  }
  await reader.end();
  return state;
}

/** Every tensor of the state, in the same order on all nodes. */
function stateTensors({ parameters, optimizerState }: EngineReport): (StateTensor & { length: number })[] {
  return ([["weights", parameters], ["optimizer", optimizerState]] as const).flatMap(([kind, tensors]) =>
    tensors.map(({ name, shape }) => ({ kind, name, length: shape.reduce((a, b) => a * b, 1) }))
  );
}

function* chunksOf(parts: readonly Uint8Array[]): Generator<Uint8Array<ArrayBuffer>> {
  let chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length;) {
      const count = Math.min(CHUNK_BYTES - filled, part.length - at);
      chunk.set(part.subarray(at, at + count), filled);
      at += count;
      filled += count;
      if (filled < CHUNK_BYTES) continue;
      yield chunk;
      chunk = new Uint8Array(CHUNK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.slice(0, filled);
}

/** Takes bytes from chunks of any length. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array<ArrayBuffer>>;
  #rest = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array<ArrayBuffer>>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `count` bytes, in a buffer of their own. */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const taken = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done) throw new Error("The other node's state ended too soon");
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, count - filled);
      taken.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return taken;
  }

  async end(): Promise<void> {
    if (this.#rest.length > 0 || !(await this.#chunks.next()).done) {
      throw new Error("The other node's state went on after its end");
    }
  }
}
