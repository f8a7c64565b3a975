/**
 * Recorded programs on a device: pipelines, bind groups and uniforms are made once, then replayed. Running allocates
 * nothing, compiles nothing and binds nothing new.
 */
import { bindProgram } from "./bind.ts";
import { Buffers } from "./buffers.ts";
import type { Gpu } from "./device.ts";
import type { Kernel, Live } from "./kernel.ts";
import { type Placement, poolBytes } from "./place.ts";
import { type DispatchTime, profile } from "./profile.ts";
import { type Program, replay, warmUp, writeLive } from "./replay.ts";
import { breathe, type Watch } from "./signal.ts";
import { type Range, readRanges, readRangesAtOnce, readRangesInto } from "./staging.ts";
import { type Arena, BYTES_PER_ELEMENT, type Slice } from "./tensor.ts";

export type { DispatchTime, Program };

/** What can be copied to the GPU. */
export type HostArray = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** How fast a program may be queued, in floating-point operations at the recorded size. */
export interface Pace {
  readonly portion: number;
  queued(flops: number): Promise<void>;
}

/** A slice, and where on the host its values go. */
export interface Read {
  readonly slice: Slice;
  readonly into: Float32Array<ArrayBufferLike>;
}

/** Buffers, pipelines and programs of one engine. */
export class Runtime {
  readonly #gpu: Gpu;
  readonly #buffers: Buffers;
  #compileMs = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#buffers = new Buffers(gpu);
  }

  /** Milliseconds spent in compiling so far. */
  get compileMs(): number {
    return this.#compileMs;
  }

  /** Bytes of all buffers that there are. */
  get bytes(): number {
    return this.#buffers.bytes;
  }

  /** Makes the buffers of arenas, of all or of none; they start as zeros. @throws UserError if memory runs out */
  async allocate(...arenas: readonly Arena[]): Promise<void> {
    await this.#buffers.allocate(arenas);
  }

  /** Frees the buffers of arenas; no program that is bound to them may run any more. */
  free(...arenas: readonly Arena[]): void {
    this.#buffers.free(arenas);
  }

  /**
   * Makes programs ready to run. They run one after the other, so they share one pool.
   *
   * @param watch.onProgress if given, the driver compiles all kernels now, and this is told how many are done. Only
   * before the arenas hold anything that counts.
   * @throws RangeError if a pooled buffer is larger than the adapter allows; UserError if memory runs out; the reason of
   * `watch.signal`
   */
  async load(placements: readonly Placement[], watch: Watch = {}): Promise<Program[]> {
    const pool = await this.#buffers.pool(poolBytes(placements, this.#gpu.limits.maxBuffer));
    await this.#compiling(() => this.#compile(placements, watch.signal));
    const programs: Program[] = [];
    for (const placement of placements) {
      programs.push(await bindProgram(this.#gpu, this.#buffers, placement, pool));
    }
    if (watch.onProgress !== undefined) {
      writeLive(this.#gpu, this.#buffers.live, []);
      await this.#compiling(() => warmUp(this.#gpu, programs, watch));
    }
    return programs;
  }

  async #compile(placements: readonly Placement[], signal: AbortSignal | undefined): Promise<void> {
    const kernels = new Map<string, Kernel>();
    for (const { segments } of placements) {
      for (const { kernel } of segments.flatMap(({ dispatches }) => dispatches)) {
        kernels.set(kernel.key, kernel);
      }
    }
    for (const kernel of kernels.values()) {
      await breathe(signal);
      await this.#gpu.pipelines.compile(this.#gpu, kernel);
    }
  }

  async #compiling(work: () => Promise<void>): Promise<void> {
    const begin = performance.now();
    await work();
    this.#compileMs += performance.now() - begin;
  }

  /** Queues a program; each stack of rows has its own inputs. */
  run(program: Program, ...lives: readonly Live[]): void {
    for (const _ of this.#submits(program, lives));
  }

  /**
   * As `run`, with a pause after each submit that may let the queue run low. Until it resolves nothing else may be run.
   *
   * @param pace says how many operations a submit may have, and is told of each submit's
   */
  async runPaced(program: Program, lives: readonly Live[], pace: Pace): Promise<void> {
    for (const flops of this.#submits(program, lives, () => pace.portion)) await pace.queued(flops);
  }

  *#submits(program: Program, lives: readonly Live[], portion?: () => number): Generator<number> {
    this.#gpu.check();
    writeLive(this.#gpu, this.#buffers.live, lives);
    yield* replay(this.#gpu, program, lives, portion);
  }

  /** Runs a program with a timestamp around every dispatch. @throws Error where the adapter has no timestamps */
  async profile(program: Program, ...lives: readonly Live[]): Promise<DispatchTime[]> {
    writeLive(this.#gpu, this.#buffers.live, lives);
    return await profile(this.#gpu, program, lives);
  }

  /** Sets the tensors of an arena to 0. */
  clear(arena: Arena): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    for (const buffer of this.#buffers.of(arena)) encoder.clearBuffer(buffer);
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Copies one arena onto another of the same layout. */
  copy(from: Arena, to: Arena): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    const targets = this.#buffers.of(to);
    this.#buffers.of(from).forEach((buffer, i) =>
      encoder.copyBufferToBuffer(buffer, 0, targets[i], 0, buffer.size)
    );
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Copies values to a slice of an arena's tensor. They are staged on the host until the next submit. */
  write(slice: Slice, values: HostArray): void {
    this.#gpu.check();
    const { buffer, offset } = this.#range(slice, "written");
    if (values.length !== slice.length) {
      throw new Error(`${slice.tensor.name}: expected ${slice.length} values, found ${values.length}`);
    }
    if (values.length === 0) return;
    this.#gpu.device.queue.writeBuffer(buffer, offset, values);
  }

  /** Submits what `write` has staged on the host. */
  flush(): void {
    this.#gpu.device.queue.submit([]);
  }

  /** Waits for the queue and copies a slice of an arena's tensor to the host. */
  async read(slice: Slice): Promise<Float32Array<ArrayBuffer>> {
    return (await this.readAll([slice]))[0];
  }

  /** As `read` of each slice, in their order, with a wait for every 32 MiB instead of one for each. */
  async readAll(slices: readonly Slice[]): Promise<Float32Array<ArrayBuffer>[]> {
    const ranges = slices.map((slice) => this.#range(slice, "read"));
    return (await readRanges(this.#gpu, ranges)).map(({ buffer }) => new Float32Array(buffer));
  }

  /** The same slices one behind the other. @param into as long as all together; shared memory, too */
  async readInto(slices: readonly Slice[], into: Float32Array<ArrayBufferLike>): Promise<void> {
    let from = 0;
    const reads = slices.map((slice) => {
      from += slice.length;
      return { slice, into: into.subarray(from - slice.length, from) };
    });
    await readRangesInto(this.#gpu, ...this.#ranges(reads));
  }

  /**
   * Slices, each to a place of its own. What is queued after this was called isn't waited for.
   *
   * @param reads `into` as long as the slice; shared memory, too
   */
  async readAhead(reads: readonly Read[]): Promise<void> {
    await readRangesAtOnce(this.#gpu, ...this.#ranges(reads));
  }

  #ranges(reads: readonly Read[]): [Range[], Uint8Array<ArrayBufferLike>[]] {
    return [
      reads.map(({ slice }) => this.#range(slice, "read")),
      reads.map(({ into: { buffer, byteOffset, byteLength } }) =>
        new Uint8Array(buffer, byteOffset, byteLength)
      ),
    ];
  }

  /** Where a slice of an arena's tensor lies. */
  #range({ tensor, at, length }: Slice, verb: string): Range {
    const { name, place, dtype } = tensor;
    if (place === null) throw new Error(`${name} is pooled: it can't be ${verb} from outside`);
    const bytes = BYTES_PER_ELEMENT[dtype];
    const buffer = this.#buffers.of(place.arena)[place.buffer];
    return { buffer, offset: place.offset + at * bytes, size: length * bytes };
  }

  /** Waits until all that was queued is done. */
  async idle(): Promise<void> {
    await this.#gpu.device.queue.onSubmittedWorkDone();
    this.#gpu.check();
  }

  close(): void {
    this.#buffers.close();
  }
}
