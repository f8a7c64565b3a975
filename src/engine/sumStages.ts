/**
 * Cuts a training program where gradients become final, so that they leave while the rest of backward goes on: a
 * stage's stretches of the sum are final once its segments have run.
 */
import type { Placement } from "../gpu/place.ts";
import type { Dispatch } from "../gpu/recorder.ts";
import { BYTES_PER_ELEMENT, type Slice, type Tensor } from "../gpu/tensor.ts";
import type { Partial } from "./layout.ts";

/** Values [from, to) of a sum, as `readSum` gives it. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

export interface SumStage {
  /** Segments of the program: from the one where the stage before ends, to this one (exclusive). */
  readonly to: number;
  /** Final by then, in ascending order; what adjoins is one. */
  readonly stretches: readonly Stretch[];
  /** What they consist of. */
  readonly fields: readonly Field[];
}

/** A tensor of a partial sum, with the zeros up to the next one. */
export interface Field extends Stretch {
  /** See `tensorsOf`. */
  readonly index: number;
  readonly slice: Slice;
}

const { f32: BYTES } = BYTES_PER_ELEMENT;

/** Gradients, then the sums (4). */
export function tensorsOf({ gradients, sums }: Partial): Tensor[] {
  return [...gradients.tensors, ...sums.tensors];
}

/** @param parts of about as many values each; fewer where gradients become final together */
export function cutStages({ segments }: Placement, running: Partial, parts: number): SumStage[] {
  const fields = fieldsOf(running);
  const finalAfter = fields.map((field) =>
    // A hash of the weights goes behind the sums once nothing reads the weights any more.
    placeOf(field.slice.tensor).arena === running.sums
      ? segments.length - 1
      : segments.findLastIndex(({ dispatches }) => dispatches.some((dispatch) => writes(dispatch, field)))
  );
  const total = fields.at(-1)?.to ?? 0;
  const stages: SumStage[] = [];
  let waiting: Field[] = [];
  let left = 0;
  for (let segment = 0; segment < segments.length; segment++) {
    waiting.push(...fields.filter(({ index }) => Math.max(finalAfter[index], 0) === segment));
    const isLast = segment === segments.length - 1;
    const ready = waiting.reduce((sum, { from, to }) => sum + to - from, left);
    if (!isLast && (ready < (stages.length + 1) * total / parts || waiting.length === 0)) continue;
    stages.push(stageOf(segment + 1, waiting));
    left = ready;
    waiting = [];
  }
  return stages;
}

function stageOf(to: number, fields: readonly Field[]): SumStage {
  const inOrder = fields.toSorted((a, b) => a.from - b.from);
  const stretches: { -readonly [Key in keyof Stretch]: Stretch[Key] }[] = [];
  for (const { from, to } of inOrder) {
    const last = stretches.at(-1);
    if (last?.to === from) last.to = to;
    else stretches.push({ from, to });
  }
  return { to, stretches, fields: inOrder };
}

function fieldsOf(partial: Partial): Field[] {
  let end = 0;
  return tensorsOf(partial).map((tensor, index, tensors) => {
    const { arena, buffer, offset } = placeOf(tensor);
    const next = tensors[index + 1]?.place;
    const isFollowed = next?.arena === arena && next.buffer === buffer;
    // Of the sums, there is no more than the tensor itself.
    const bytes = arena === partial.sums
      ? tensor.bytes
      : (isFollowed ? next.offset : arena.buffers[buffer]) - offset;
    const from = end;
    end += bytes / BYTES;
    return { index, from, to: end, slice: arena.stretch(buffer, offset, bytes).whole() };
  });
}

function writes({ kernel, slices }: Dispatch, { slice }: Field): boolean {
  const field = placeOf(slice.tensor);
  return kernel.slots.some(({ access }, i) => {
    const { place } = slices[i].tensor;
    if (access === "read" || place?.arena !== field.arena || place.buffer !== field.buffer) return false;
    const from = place.offset + BYTES * slices[i].at;
    return from < field.offset + BYTES * slice.length && from + BYTES * slices[i].length > field.offset;
  });
}

function placeOf({ name, place }: Tensor) {
  if (place === null) throw new Error(`${name} is in no arena`);
  return place;
}
