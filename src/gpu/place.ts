/**
 * Gives pooled tensors their buffers: two tensors whose lives don't overlap may share one.
 */
import type { Dispatch, Recorder, Segment } from "./recorder.ts";
import { ALIGNMENT, alignUp, type Slice, type Tensor } from "./tensor.ts";

/** A stretch of dispatches during which a tensor holds a value that is still needed. */
interface Life {
  readonly tensor: Tensor;
  /** Index of the first write. */
  readonly start: number;
  /** Index of the last use. */
  end: number;
}

export interface Placement {
  /** The recorded segments without the dispatches whose results nobody reads. */
  readonly segments: readonly Segment[];
  /** Bytes of each pooled buffer, the largest first. */
  readonly bufferBytes: readonly number[];
  /** The pooled buffer of a tensor at a dispatch (counted over `segments`). */
  bufferOf(slice: Slice, dispatchIndex: number): number;
}

export function place(recorder: Recorder): Placement {
  const kept = dropUnread(recorder);
  const lives = findLives(kept.dispatches, kept.rewrites);
  const { bufferBytes, assigned } = assign([...lives.values()].flat());
  return {
    segments: kept.segments,
    bufferBytes,
    bufferOf({ tensor }, index) {
      const life = lives.get(tensor)?.find(({ start, end }) => start <= index && index <= end);
      if (life === undefined) throw new Error(`${tensor.name} is read before it is written`);
      return assigned.get(life)!;
    },
  };
}

/** Removes dispatches that write pooled tensors only, none of which is read later. */
function dropUnread(recorder: Recorder) {
  const all: Dispatch[] = recorder.segments.flatMap(({ dispatches }) => dispatches);
  const needed = new Set<Tensor>();
  const keep = new Array<boolean>(all.length);
  const startsAnew = new Map<number, Tensor[]>();
  for (const [tensor, starts] of recorder.rewrites) {
    for (const start of starts) startsAnew.set(start, [...(startsAnew.get(start) ?? []), tensor]);
  }
  for (let i = all.length - 1; i >= 0; i--) {
    const { kernel, slices } = all[i];
    keep[i] = kernel.slots.some(({ access }, s) =>
      access !== "read" && (slices[s].tensor.place !== null || needed.has(slices[s].tensor))
    );
    // Read going backwards: before a tensor starts anew, what was needed of it is not needed any more.
    for (const tensor of startsAnew.get(i) ?? []) needed.delete(tensor);
    if (!keep[i]) continue;
    kernel.slots.forEach(({ access }, s) => {
      if (access !== "write") needed.add(slices[s].tensor);
    });
  }
  const newIndex = new Map<number, number>(); // of each recorded dispatch, or of the next kept one
  let count = 0;
  keep.forEach((isKept, i) => {
    newIndex.set(i, count);
    if (isKept) count++;
  });
  const rewrites = new Map<Tensor, number[]>();
  for (const [tensor, starts] of recorder.rewrites) {
    rewrites.set(
      tensor,
      starts.map((start) => newIndex.get(start)!),
    );
  }
  let at = 0;
  const segments = recorder.segments
    .map(({ name, dispatches }) => ({ name, dispatches: dispatches.filter(() => keep[at++]) }))
    .filter(({ dispatches }) => dispatches.length > 0);
  return { segments, dispatches: segments.flatMap(({ dispatches }) => dispatches), rewrites };
}

function findLives(
  dispatches: readonly Dispatch[],
  rewrites: ReadonlyMap<Tensor, number[]>,
): Map<Tensor, Life[]> {
  const lives = new Map<Tensor, Life[]>();
  dispatches.forEach(({ kernel, slices }, index) => {
    slices.forEach(({ tensor }, s) => {
      if (tensor.place !== null) return;
      const own = lives.get(tensor) ?? [];
      lives.set(tensor, own);
      const last = own.at(-1);
      const restart = (rewrites.get(tensor) ?? []).some((start) =>
        start <= index && (last?.start ?? 0) < start
      );
      if (last === undefined || restart) {
        if (kernel.slots[s].access !== "write") {
          throw new Error(`${tensor.name} is read before it is written (${kernel.key})`);
        }
        own.push({ tensor, start: index, end: index });
      } else {
        last.end = index;
      }
    });
  });
  return lives;
}

/** Greedy by size: the largest first, each into the first buffer that is free during its whole life. */
function assign(lives: readonly Life[]) {
  const buffers: { bytes: number; lives: Life[] }[] = []; // lives that don't overlap, by their start
  const assigned = new Map<Life, number>();
  const order = [...lives].sort((a, b) => b.tensor.bytes - a.tensor.bytes || a.start - b.start);
  for (const life of order) {
    let at = 0; // among the buffer's lives
    let index = buffers.findIndex(({ lives }) => {
      at = firstAfter(lives, life.start);
      return (at === 0 || lives[at - 1].end < life.start) &&
        (at === lives.length || life.end < lives[at].start);
    });
    if (index < 0) [index, at] = [buffers.push({ bytes: alignUp(life.tensor.bytes), lives: [] }) - 1, 0];
    buffers[index].lives.splice(at, 0, life);
    assigned.set(life, index);
  }
  return { bufferBytes: buffers.map(({ bytes }) => bytes), assigned };
}

/** The index of the first life that starts after a dispatch, in lives that are sorted by their start. */
function firstAfter(lives: readonly Life[], start: number): number {
  let [from, to] = [0, lives.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (lives[middle].start > start) to = middle;
    else from = middle + 1;
  }
  return from;
}

/**
 * Bytes of the pooled buffers of programs that run one after the other and so share them: the k-th is as large as the
 * largest k-th buffer of any of them.
 *
 * @throws RangeError if one is larger than a buffer may be
 */
export function poolBytes(placements: readonly Placement[], maxBuffer: number): number[] {
  const most = Math.max(...placements.map(({ bufferBytes }) => bufferBytes.length));
  const sizes = Array.from(
    { length: most },
    (_, k) => Math.max(...placements.map(({ bufferBytes }) => bufferBytes[k] ?? 0)),
  );
  const largest = Math.max(0, ...sizes);
  if (largest > maxBuffer) {
    throw new RangeError(
      `The activations take ${largest} bytes in one buffer, more than this adapter allows (${maxBuffer})`,
    );
  }
  return sizes;
}

/** Bytes of the uniforms of one dispatch. */
export const UNIFORM_STRIDE = ALIGNMENT;

/** Bytes of a program's uniforms. */
export function uniformBytes({ segments }: Placement): number {
  return Math.max(segments.reduce((sum, { dispatches }) => sum + dispatches.length, 0), 1) * UNIFORM_STRIDE;
}
