/**
 * Symbolic tensors: names, shapes and where they will live. Nothing here touches a device, so that a whole run can
 * be laid out and counted before any memory is taken.
 */

import type { Choices } from "./choices.ts";

/** Storage types; f32 now. Kernels see values through accessors only. */
export type DType = "f32" | "u32" | "i32";
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = { f32: 4, u32: 4, i32: 4 };

/** Bindings start at multiples of this many bytes (WebGPU's largest minStorageBufferOffsetAlignment). */
export const ALIGNMENT = 256;

export function alignUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** What the recording needs to know of an adapter: numbers only. */
export interface EngineLimits {
  /** Largest storage binding in bytes, possibly capped below the adapter's. */
  readonly maxBinding: number;
  readonly maxBuffer: number;
  /** Workgroups in one dimension of a dispatch. */
  readonly maxGroups: number;
  readonly workgroupMemory: number;
  readonly workgroupSize: number;
  /** Threads of the smallest subgroup; 0: the adapter has no subgroups. */
  readonly subgroupSize: number;
  /** A software rasteriser: wide registers, no fast workgroup memory. Chooses kernels only before tuning has. */
  readonly isSoftware: boolean;
  /** Variants that were measured to be fastest on this adapter; without it the defaults are taken. */
  readonly choices?: Choices;
}

export class Tensor {
  readonly size: number;
  /** Set where the tensor is part of an arena; null: pooled by lifetime. */
  place: ArenaPlace | null = null;

  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    readonly dtype: DType = "f32",
  ) {
    this.size = shape.reduce((a, b) => a * b, 1);
  }

  get bytes(): number {
    return this.size * BYTES_PER_ELEMENT[this.dtype];
  }

  /** The elements of rows `from` to `to`, where a row is everything behind the first dimension. */
  rows(from: number, to: number): Slice {
    const row = this.size / this.shape[0];
    return { tensor: this, at: from * row, length: (to - from) * row };
  }

  whole(): Slice {
    return { tensor: this, at: 0, length: this.size };
  }

  /** The first `rows` rows, as a tensor in the same place; only for tensors of an arena. */
  part(rows: number): Tensor {
    const tensor = new Tensor(this.name, [rows, ...this.shape.slice(1)], this.dtype);
    tensor.place = this.place;
    return tensor;
  }
}

/** Elements `at` to `at + length` of a tensor: what a dispatch binds. */
export interface Slice {
  readonly tensor: Tensor;
  readonly at: number;
  readonly length: number;
}

export interface ArenaPlace {
  readonly arena: Arena;
  /** Which of the arena's buffers. */
  readonly buffer: number;
  /** Byte offset there, a multiple of ALIGNMENT. */
  readonly offset: number;
}

/** Tensors that stay: parameters, gradients, moments, inputs. Packed into as few buffers as the adapter allows. */
export class Arena {
  readonly tensors: Tensor[] = [];
  /** Bytes of each buffer. */
  readonly buffers: number[] = [];

  constructor(readonly name: string, readonly maxBuffer: number) {}

  /** @throws Error if the tensor is larger than a buffer may be. */
  add(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    const tensor = new Tensor(name, shape, dtype);
    const bytes = alignUp(tensor.bytes);
    if (bytes > this.maxBuffer) {
      throw new RangeError(
        `${name} takes ${bytes} bytes, more than a buffer of this adapter holds (${this.maxBuffer})`,
      );
    }
    if (this.buffers.length === 0 || this.buffers.at(-1)! + bytes > this.maxBuffer) this.buffers.push(0);
    const buffer = this.buffers.length - 1;
    tensor.place = { arena: this, buffer, offset: this.buffers[buffer] };
    this.buffers[buffer] += bytes;
    this.tensors.push(tensor);
    return tensor;
  }

  /** An arena of the same layout: gradients and moments beside parameters. */
  like(name: string): Arena {
    const twin = new Arena(name, this.maxBuffer);
    for (const tensor of this.tensors) twin.add(tensor.name, tensor.shape, tensor.dtype);
    return twin;
  }

  /** Each buffer as one flat tensor of f32: tensors and the zeros between them. */
  flat(): Tensor[] {
    return this.buffers.map((bytes, buffer) => this.stretch(buffer, 0, bytes));
  }

  /** A stretch of a buffer as a flat tensor of f32. */
  stretch(buffer: number, offset: number, bytes: number): Tensor {
    const tensor = new Tensor(this.name, [bytes / BYTES_PER_ELEMENT.f32]);
    tensor.place = { arena: this, buffer, offset };
    return tensor;
  }

  get bytes(): number {
    return this.buffers.reduce((a, b) => a + b, 0);
  }

  get(name: string): Tensor {
    const tensor = this.tensors.find((candidate) => candidate.name === name);
    if (tensor === undefined) throw new Error(`No tensor ${name} in ${this.name}`);
    return tensor;
  }
}

/**
 * Cuts `count` rows into windows so that the window of each tensor fits one binding.
 *
 * @param rowSizes elements per row of each tensor that is bound by these rows
 * @param multiple windows (but the last) are multiples of this many rows, a power of two; where fewer fit, they divide it
 * @throws RangeError if a single row does not fit
 */
export function rowWindows(
  count: number,
  limits: EngineLimits,
  rowSizes: readonly number[],
  multiple = 1,
): { from: number; to: number }[] {
  const widest = Math.max(...rowSizes, 1) * 4;
  let rows = Math.floor((limits.maxBinding - ALIGNMENT) / widest);
  if (rows < 1) {
    throw new RangeError(`A row of ${widest} bytes does not fit a binding of ${limits.maxBinding} bytes`);
  }
  if (rows >= count) return [{ from: 0, to: count }];
  rows = rows > multiple ? rows - rows % multiple : 2 ** Math.floor(Math.log2(rows));
  const windows = [];
  for (let from = 0; from < count; from += rows) windows.push({ from, to: Math.min(from + rows, count) });
  return windows;
}
