/**
 * Copies to the host. Each wait for the GPU costs Deno 10 ms on top, and memory that both sides see is scarce on some
 * adapters: so many ranges share one staging buffer of bounded size.
 */
import type { Gpu } from "./device.ts";

/** A stretch of a buffer, in bytes: multiples of 4. */
export interface Range {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Bytes of the staging buffer: what is read with one wait. */
export const STAGING_BYTES = 2 ** 25;

/** A part of a range that goes through the staging buffer at once. */
interface Piece {
  readonly range: Range;
  readonly out: Uint8Array<ArrayBufferLike>;
  /** Bytes of the range before it. */
  readonly from: number;
  readonly size: number;
  /** Where in the staging buffer it lies. */
  readonly at: number;
}

/** Waits for the queue and copies ranges to the host, each into an array of its own. */
export async function readRanges(gpu: Gpu, ranges: readonly Range[]): Promise<Uint8Array<ArrayBuffer>[]> {
  const results = ranges.map(({ size }) => new Uint8Array(size));
  await readRangesInto(gpu, ranges, results);
  return results;
}

/** The same, into arrays that are there. @param results as long as the ranges; shared memory, too */
export async function readRangesInto(
  gpu: Gpu,
  ranges: readonly Range[],
  results: readonly Uint8Array<ArrayBufferLike>[],
): Promise<void> {
  gpu.check();
  const total = ranges.reduce((sum, { size }) => sum + size, 0);
  if (total === 0) return;
  const staging = createStaging(gpu, Math.min(total, STAGING_BYTES));
  try {
    for (const pieces of fillings(ranges, results, staging.size)) await readPieces(gpu, staging, pieces);
  } finally {
    staging.destroy();
  }
  gpu.check();
}

/** Bytes of all staging buffers that are there at once. */
export const AHEAD_BYTES = 2 ** 28;

/**
 * The same with staging buffers for up to AHEAD_BYTES. What is queued once this has been called isn't waited for, if the
 * ranges fit that: Deno's `mapAsync` has waited for the GPU when it returns, and sleeps for 10 ms after.
 */
export async function readRangesAtOnce(
  gpu: Gpu,
  ranges: readonly Range[],
  results: readonly Uint8Array<ArrayBufferLike>[],
): Promise<void> {
  gpu.check();
  const all = [...fillings(ranges, results, STAGING_BYTES)];
  const atOnce = AHEAD_BYTES / STAGING_BYTES;
  for (let done = 0; done < all.length; done += atOnce) {
    const buffers = all.slice(done, done + atOnce).map((pieces) => {
      const { at, size } = pieces.at(-1)!;
      return { pieces, staging: createStaging(gpu, at + size) };
    });
    try {
      await Promise.all(buffers.map(({ pieces, staging }) => readPieces(gpu, staging, pieces)));
    } finally {
      for (const { staging } of buffers) staging.destroy();
    }
  }
  gpu.check();
}

function createStaging({ device }: Gpu, size: number): GPUBuffer {
  return device.createBuffer({
    label: "staging",
    size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
}

/** Cuts ranges into what fills the staging buffer once, again and again. */
function* fillings(
  ranges: readonly Range[],
  results: readonly Uint8Array<ArrayBufferLike>[],
  capacity: number,
): Generator<Piece[]> {
  let pieces: Piece[] = [];
  let at = 0;
  for (const [i, range] of ranges.entries()) {
    for (let from = 0; from < range.size;) {
      const size = Math.min(range.size - from, capacity - at);
      pieces.push({ range, out: results[i], from, size, at });
      from += size;
      at += size;
      if (at < capacity) continue;
      yield pieces;
      pieces = [];
      at = 0;
    }
  }
  if (pieces.length > 0) yield pieces;
}

async function readPieces(gpu: Gpu, staging: GPUBuffer, pieces: readonly Piece[]): Promise<void> {
  const encoder = gpu.device.createCommandEncoder();
  for (const { range: { buffer, offset }, from, size, at } of pieces) {
    encoder.copyBufferToBuffer(buffer, offset + from, staging, at, size);
  }
  gpu.device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ).catch((error) => {
    gpu.check();
    throw error;
  });
  const mapped = new Uint8Array(staging.getMappedRange());
  for (const { out, from, size, at } of pieces) out.set(mapped.subarray(at, at + size), from);
  staging.unmap();
}
