/**
 * The buffers of one runtime: arenas that stay, a pool that its programs share, uniforms. Memory of the GPU is invisible
 * to the garbage collector, so every buffer is known here and ends with `close`.
 */
import type { Gpu } from "./device.ts";
import { LIVE_STRIDE, STACKS } from "./kernel.ts";
import type { Arena } from "./tensor.ts";

const ARENA_USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
const UNIFORM_USAGE = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;

export class Buffers {
  readonly #gpu: Gpu;
  readonly #arenas = new Map<Arena, readonly GPUBuffer[]>();
  #pool: GPUBuffer[] = [];
  /** Pooled buffers that earlier programs are bound to, and later ones were too large for. */
  readonly #outgrown: GPUBuffer[] = [];
  readonly #uniforms: GPUBuffer[] = [];
  /** The step's inputs: see LIVE_FIELDS. */
  readonly live: GPUBuffer;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.live = gpu.device.createBuffer({ label: "live", size: LIVE_STRIDE * STACKS, usage: UNIFORM_USAGE });
  }

  #all(): GPUBuffer[] {
    return [
      ...[...this.#arenas.values()].flat(),
      ...this.#pool,
      ...this.#outgrown,
      ...this.#uniforms,
      this.live,
    ];
  }

  /** Bytes of all buffers that there are. */
  get bytes(): number {
    return this.#all().reduce((sum, { size }) => sum + size, 0);
  }

  /** Makes the buffers of arenas, of all or of none; they start as zeros. @throws UserError if memory runs out */
  async allocate(arenas: readonly Arena[]): Promise<void> {
    const made: [Arena, GPUBuffer[]][] = [];
    try {
      for (const arena of arenas) {
        const buffers: GPUBuffer[] = [];
        made.push([arena, buffers]);
        for (const size of arena.buffers) {
          buffers.push(await this.#create(arena.name, size, ARENA_USAGE, "choose a smaller model"));
        }
      }
    } catch (error) {
      for (const [, buffers] of made) destroy(buffers);
      throw error;
    }
    for (const [arena, buffers] of made) this.#arenas.set(arena, buffers);
  }

  /** Frees the buffers of arenas. */
  free(arenas: readonly Arena[]): void {
    for (const arena of arenas) {
      destroy(this.of(arena));
      this.#arenas.delete(arena);
    }
  }

  of(arena: Arena): readonly GPUBuffer[] {
    const buffers = this.#arenas.get(arena);
    if (buffers === undefined) throw new Error(`The arena ${arena.name} was not allocated`);
    return buffers;
  }

  /** Pooled buffers of at least these sizes: those that are there, where they are large enough. */
  async pool(sizes: readonly number[]): Promise<readonly GPUBuffer[]> {
    const advice = "lower train.microBatchSize or set engine.recompute=true";
    for (const [k, size] of sizes.entries()) {
      const there = this.#pool[k];
      if (there !== undefined && there.size >= size) continue;
      this.#pool[k] = await this.#create("activations", size, GPUBufferUsage.STORAGE, advice);
      if (there !== undefined) this.#outgrown.push(there);
    }
    return this.#pool.slice(0, sizes.length);
  }

  async uniforms(bytes: number): Promise<GPUBuffer> {
    const buffer = await this.#create("uniforms", bytes, UNIFORM_USAGE, "choose a smaller model");
    this.#uniforms.push(buffer);
    return buffer;
  }

  async #create(label: string, size: number, usage: number, advice: string): Promise<GPUBuffer> {
    const { device } = this.#gpu;
    const make = () => device.createBuffer({ label, size, usage });
    return await this.#gpu.scoped(`the ${label} (${size} bytes)`, advice, make);
  }

  close(): void {
    destroy(this.#all());
  }
}

function destroy(buffers: readonly GPUBuffer[]): void {
  for (const buffer of buffers) buffer.destroy();
}
