/**
 * Records what a step does: dispatches in segments, in order, with the tensors that each reads and writes.
 */
import type { Kernel, Live } from "./kernel.ts";
import { type DType, type EngineLimits, type Slice, Tensor } from "./tensor.ts";

/** Workgroups of a dispatch; a function where it depends on how much of the recorded size is in use. */
export type GroupCount = number | ((live: Live) => number);

export interface Dispatch {
  readonly kernel: Kernel;
  /** In the order of the kernel's slots. */
  readonly slices: readonly Slice[];
  /** In the order of the kernel's fields. */
  readonly uniforms: readonly number[];
  readonly groups: GroupCount;
  /** Floating-point operations at the recorded size; for reports and for cutting submits. */
  readonly flops: number;
  /** Which of the step's inputs it sees: those of the first stack of rows (a decoder's), or of the second (an encoder's). */
  readonly stack: Stack;
}

export type Stack = 0 | 1;

export interface Segment {
  readonly name: string;
  readonly dispatches: Dispatch[];
}

/** What a dispatch is given: tensors (whole, or a slice) and uniforms by the names that the shader declares. */
export interface DispatchOptions {
  readonly tensors: Readonly<Record<string, Tensor | Slice>>;
  readonly uniforms?: Readonly<Record<string, number>>;
  readonly groups: GroupCount;
  readonly flops?: number;
}

export class Recorder {
  readonly segments: Segment[] = [];
  /** Indices of dispatches from which on a tensor is written anew: what it held before is not needed any more. */
  readonly rewrites = new Map<Tensor, number[]>();
  #count = 0;
  /** Of the dispatches to come. */
  protected stack: Stack = 0;

  constructor(readonly limits: EngineLimits) {}

  /** A tensor that lives from its first write to its last read. */
  tensor(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return new Tensor(name, shape, dtype);
  }

  /** Everything recorded inside `body` belongs to the segment `name`. */
  segment<T>(name: string, body: () => T): T {
    this.segments.push({ name, dispatches: [] });
    return body();
  }

  /** Everything recorded inside `body` works on the rows of a stack. */
  inStack<T>(stack: Stack, body: () => T): T {
    const before = this.stack;
    this.stack = stack;
    const result = body();
    this.stack = before;
    return result;
  }

  dispatch(kernel: Kernel, { tensors, uniforms = {}, groups, flops = 0 }: DispatchOptions): void {
    const slices = kernel.slots.map(({ name }) => {
      const given = tensors[name];
      if (given === undefined) throw new Error(`${kernel.key}: no tensor ${name}`);
      return given instanceof Tensor ? given.whole() : given;
    });
    const values = kernel.fields.map(({ name }) => {
      if (uniforms[name] === undefined) throw new Error(`${kernel.key}: no uniform ${name}`);
      return uniforms[name];
    });
    for (const name of [...Object.keys(tensors), ...Object.keys(uniforms)]) {
      if (![...kernel.slots, ...kernel.fields].some((known) => known.name === name)) {
        throw new Error(`${kernel.key}: declares no ${name}`);
      }
    }
    this.#append({ kernel, slices, uniforms: values, groups, flops, stack: this.stack });
  }

  /** Records a segment's dispatches once more: recomputation. What they write starts a new life. */
  repeat(segment: Segment): void {
    const begin = this.#count;
    for (const dispatch of segment.dispatches) {
      dispatch.kernel.slots.forEach(({ access }, i) => {
        const { tensor } = dispatch.slices[i];
        if (access !== "write" || tensor.place !== null) return;
        const starts = this.rewrites.get(tensor) ?? [];
        this.rewrites.set(tensor, starts);
        // Windows of one tensor are written by several dispatches: only the first one starts anew.
        if (!starts.some((start) => start >= begin)) starts.push(this.#count);
      });
      this.#append(dispatch);
    }
  }

  #append(dispatch: Dispatch): void {
    if (this.segments.length === 0) this.segments.push({ name: "main", dispatches: [] });
    this.segments.at(-1)!.dispatches.push(dispatch);
    this.#count++;
  }
}
