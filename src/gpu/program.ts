/**
 * A recorded program on a device: pipelines, bind groups and uniforms made once, then replayed. Running it allocates
 * nothing, compiles nothing and binds nothing new.
 */
import { UserError } from "../errors.ts";
import type { Gpu } from "./device.ts";
import { FIRST_TENSOR_BINDING, type Kernel, type Live, LIVE_BYTES, LIVE_FIELDS } from "./kernel.ts";
import type { Placement } from "./place.ts";
import type { Dispatch, GroupCount } from "./recorder.ts";
import { ALIGNMENT, type Arena, BYTES_PER_ELEMENT, type Slice } from "./tensor.ts";

interface Command {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly groups: GroupCount;
  readonly dispatch: Dispatch;
}

export interface Program {
  readonly segments: readonly { readonly name: string; readonly commands: readonly Command[] }[];
}

/** Time of one dispatch, from `Runtime.profile`. */
export interface DispatchTime {
  readonly segment: string;
  readonly kernel: string;
  readonly flops: number;
  readonly nanoseconds: number;
}

/** What can be copied to the GPU. */
export type HostArray = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Kernels that are compiled between two reports: a report costs a wait. */
const KERNELS_PER_REPORT = 6;

/** Floating-point operations after which a submit is cut, short enough for a GPU's watchdog. */
const FLOPS_PER_SUBMIT = 4e11;

/** Buffers, pipelines and programs of one engine. */
export class Runtime {
  readonly #gpu: Gpu;
  readonly #live: GPUBuffer;
  readonly #arenas = new Map<Arena, GPUBuffer[]>();
  readonly #pool: GPUBuffer[] = [];
  /** Pooled buffers of later programs that needed larger ones. */
  readonly #outgrown: GPUBuffer[] = [];
  readonly #uniformBuffers: GPUBuffer[] = [];
  #compileMs = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#live = gpu.device.createBuffer({
      label: "live",
      size: LIVE_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
  }

  #buffers(): GPUBuffer[] {
    return [
      ...[...this.#arenas.values()].flat(),
      ...this.#pool,
      ...this.#outgrown,
      ...this.#uniformBuffers,
      this.#live,
    ];
  }

  /** Milliseconds spent in compiling so far. */
  get compileMs(): number {
    return this.#compileMs;
  }

  /** Bytes of all buffers made so far. */
  get bytes(): number {
    return this.#buffers().reduce((sum, { size }) => sum + size, 0);
  }

  /** Makes the buffers of an arena; they start as zeros. @throws UserError if memory runs out. */
  async allocate(arena: Arena): Promise<void> {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffers = [];
    for (const size of arena.buffers) buffers.push(await this.#createBuffer(arena.name, size, usage));
    this.#arenas.set(arena, buffers);
  }

  async #createBuffer(label: string, size: number, usage: number): Promise<GPUBuffer> {
    const { maxBuffer } = this.#gpu.limits;
    if (size > maxBuffer) {
      throw new UserError(
        `The ${label} take ${size} bytes in one buffer, more than this adapter allows (${maxBuffer}): lower train.microBatchSize or the model's size`,
      );
    }
    return await this.#gpu.scoped(
      `${label} (${size} bytes)`,
      () => this.#gpu.device.createBuffer({ label, size, usage }),
    );
  }

  /**
   * Makes programs ready to run. They run one after the other, so they share one pool: its k-th buffer is as large as
   * the largest k-th buffer of any of them.
   *
   * @param onCompile if given, the driver compiles all kernels now, and this is told how many are done. Only before the
   * arenas hold anything that counts.
   */
  async load(
    placements: readonly Placement[],
    onCompile?: (done: number, total: number) => void,
  ): Promise<Program[]> {
    const pool: GPUBuffer[] = [];
    for (const [k, size] of poolBytes(placements).entries()) {
      // Programs that are loaded later use what is there where it is large enough.
      const there = this.#pool[k];
      if (there !== undefined && there.size >= size) {
        pool.push(there);
        continue;
      }
      pool.push(await this.#createBuffer("activations", size, GPUBufferUsage.STORAGE));
      if (there === undefined) this.#pool[k] = pool[k];
      else this.#outgrown.push(pool[k]);
    }
    const begin = performance.now();
    const kernels = new Map<string, Kernel>();
    for (const { segments } of placements) {
      for (const { dispatches } of segments) {
        for (const { kernel } of dispatches) kernels.set(kernel.key, kernel);
      }
    }
    for (const kernel of kernels.values()) await this.#gpu.pipelines.compile(this.#gpu, kernel);
    this.#compileMs += performance.now() - begin;
    const programs = [];
    for (const placement of placements) programs.push(await this.#bind(placement, pool));
    if (onCompile !== undefined) await this.#warmUp(programs, onCompile);
    return programs;
  }

  /**
   * Makes the driver compile every kernel now, which many put off until the first use: each runs once with nothing in
   * use (all inputs of the step are 0). What that writes is overwritten or cleared before it is read.
   */
  async #warmUp(
    programs: readonly Program[],
    onCompile: (done: number, total: number) => void,
  ): Promise<void> {
    const begin = performance.now();
    const first = new Map<string, Command>();
    for (const { segments } of programs) {
      for (const { commands } of segments) {
        for (const command of commands) {
          const { key } = command.dispatch.kernel;
          if (!first.has(key)) first.set(key, command);
        }
      }
    }
    this.#writeLive({});
    const commands = [...first.values()];
    for (let done = 0; done < commands.length; done += KERNELS_PER_REPORT) {
      onCompile(done, commands.length);
      const encoder = this.#gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, bindGroup } of commands.slice(done, done + KERNELS_PER_REPORT)) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        pass.dispatchWorkgroups(1);
      }
      pass.end();
      this.#gpu.device.queue.submit([encoder.finish()]);
      await this.idle();
    }
    onCompile(commands.length, commands.length);
    this.#compileMs += performance.now() - begin;
  }

  async #bind(placement: Placement, pool: readonly GPUBuffer[]): Promise<Program> {
    const { device } = this.#gpu;
    const stride = ALIGNMENT; // bytes of uniforms per dispatch
    const uniforms = new ArrayBuffer(uniformBytes(placement));
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const uniformBuffer = await this.#createBuffer("uniforms", uniforms.byteLength, usage);
    this.#uniformBuffers.push(uniformBuffer);
    let index = 0;
    const segments = [];
    for (const segment of placement.segments) {
      const commands: Command[] = [];
      for (const dispatch of segment.dispatches) {
        const { kernel, slices, groups } = dispatch;
        const bound = slices.map((slice) => this.#window(slice, (s) => pool[placement.bufferOf(s, index)]));
        checkOverlap(kernel, bound);
        const view = new DataView(uniforms, index * stride, stride);
        kernel.fields.forEach(({ type }, i) => {
          if (type === "u32") view.setUint32(i * 4, dispatch.uniforms[i], true);
          else view.setFloat32(i * 4, dispatch.uniforms[i], true);
        });
        bound.forEach(({ at }, i) => view.setUint32((kernel.fields.length + i) * 4, at, true));
        const { pipeline, layout } = await this.#gpu.pipelines.compile(this.#gpu, kernel);
        const bindGroup = device.createBindGroup({
          layout,
          entries: [
            { binding: 0, resource: { buffer: this.#live } },
            { binding: 1, resource: { buffer: uniformBuffer, offset: index * stride, size: stride } },
            ...bound.map(({ buffer, offset, size }, i) => ({
              binding: FIRST_TENSOR_BINDING + i,
              resource: { buffer, offset, size },
            })),
          ],
        });
        commands.push({ pipeline, bindGroup, groups, dispatch });
        index++;
      }
      segments.push({ name: segment.name, commands });
    }
    device.queue.writeBuffer(uniformBuffer, 0, uniforms);
    return { segments };
  }

  /** The binding of a slice: it starts at an aligned byte, `at` elements before the slice. */
  #window(slice: Slice, pooled: (slice: Slice) => GPUBuffer) {
    const { tensor } = slice;
    const bytes = BYTES_PER_ELEMENT[tensor.dtype];
    const buffer = tensor.place === null
      ? pooled(slice)
      : this.#arenaBuffers(tensor.place.arena)[tensor.place.buffer];
    const start = (tensor.place?.offset ?? 0) + slice.at * bytes;
    const offset = start - (start % ALIGNMENT);
    // Whole groups of four values, so that a kernel may read the last group as one; allocations are padded.
    const size = Math.min(Math.ceil((start - offset + slice.length * bytes) / 16) * 16, buffer.size - offset);
    if (size > this.#gpu.limits.maxBinding) {
      throw new Error(
        `${tensor.name}: a window of ${size} bytes exceeds the binding limit of ${this.#gpu.limits.maxBinding}`,
      );
    }
    return { buffer, offset, size, at: (start - offset) / bytes };
  }

  #arenaBuffers(arena: Arena): GPUBuffer[] {
    const buffers = this.#arenas.get(arena);
    if (buffers === undefined) throw new Error(`The arena ${arena.name} was not allocated`);
    return buffers;
  }

  /** Queues a program. */
  run(program: Program, live: Live = {}): void {
    this.#gpu.check();
    const { device } = this.#gpu;
    this.#writeLive(live);
    let encoder = device.createCommandEncoder();
    let pass = encoder.beginComputePass();
    let flops = 0;
    for (const { commands } of program.segments) {
      if (flops > FLOPS_PER_SUBMIT) {
        pass.end();
        device.queue.submit([encoder.finish()]);
        encoder = device.createCommandEncoder();
        pass = encoder.beginComputePass();
        flops = 0;
      }
      for (const command of commands) flops += this.#encode(pass, command, live);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  /** Records one dispatch, in a grid that respects the limit per dimension; returns its operations. */
  #encode(
    pass: GPUComputePassEncoder,
    { pipeline, bindGroup, groups, dispatch }: Command,
    live: Live,
  ): number {
    const count = typeof groups === "number" ? groups : groups(live);
    if (count === 0) return 0;
    const height = Math.ceil(count / this.#gpu.limits.maxGroups);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(Math.ceil(count / height), height);
    return dispatch.flops;
  }

  #writeLive(live: Live): void {
    const view = new DataView(new ArrayBuffer(LIVE_BYTES));
    LIVE_FIELDS.forEach(([name, type], i) => {
      if (type === "u32") view.setUint32(i * 4, live[name] ?? 0, true);
      else view.setFloat32(i * 4, live[name] ?? 0, true);
    });
    this.#gpu.device.queue.writeBuffer(this.#live, 0, view);
  }

  /** Runs a program with a timestamp around every dispatch. @throws Error where the adapter has no timestamps. */
  async profile(program: Program, live: Live): Promise<DispatchTime[]> {
    if (!this.#gpu.hasTimestamps) throw new Error("This adapter has no timestamp queries");
    const { device } = this.#gpu;
    const commands = program.segments.flatMap(({ name, commands }) =>
      commands.map((command) => ({ name, command }))
    );
    const times: DispatchTime[] = [];
    const perBatch = 1024; // a query set holds at most 4096 timestamps
    this.#writeLive(live);
    for (let from = 0; from < commands.length; from += perBatch) {
      const part = commands.slice(from, from + perBatch);
      const querySet = device.createQuerySet({ type: "timestamp", count: part.length * 2 });
      const size = part.length * 16;
      const resolved = device.createBuffer({
        size,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      });
      const encoder = device.createCommandEncoder();
      part.forEach(({ command }, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        this.#encode(pass, command, live);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, part.length * 2, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const stamps = new BigInt64Array((await this.#readBytes(resolved, 0, size)).buffer);
      part.forEach(({ name, command: { dispatch } }, i) => {
        times.push({
          segment: name,
          kernel: dispatch.kernel.key,
          flops: dispatch.flops,
          nanoseconds: Number(stamps[2 * i + 1] - stamps[2 * i]),
        });
      });
      querySet.destroy();
      resolved.destroy();
    }
    return times;
  }

  /** Sets the tensors of an arena to 0. */
  clear(arena: Arena): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    for (const buffer of this.#arenaBuffers(arena)) encoder.clearBuffer(buffer);
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Copies one arena onto another of the same layout. */
  copy(from: Arena, to: Arena): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    const targets = this.#arenaBuffers(to);
    this.#arenaBuffers(from).forEach((buffer, i) =>
      encoder.copyBufferToBuffer(buffer, 0, targets[i], 0, buffer.size)
    );
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Copies values to a slice of an arena's tensor. */
  write({ tensor, at, length }: Slice, values: HostArray): void {
    this.#gpu.check();
    if (tensor.place === null) throw new Error(`${tensor.name} is pooled: it can't be written from outside`);
    if (values.length !== length) {
      throw new Error(`${tensor.name}: expected ${length} values, found ${values.length}`);
    }
    if (length === 0) return;
    const offset = tensor.place.offset + at * BYTES_PER_ELEMENT[tensor.dtype];
    const buffer = this.#arenaBuffers(tensor.place.arena)[tensor.place.buffer];
    this.#gpu.device.queue.writeBuffer(buffer, offset, values.buffer, values.byteOffset, values.byteLength);
  }

  /** Flushes what `write` has staged on the host. */
  flush(): void {
    this.#gpu.device.queue.submit([]);
  }

  /** Waits for the queue and copies a slice of an arena's tensor to the host. */
  async read({ tensor, at, length }: Slice): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array((await this.#readSlice({ tensor, at, length })).buffer);
  }

  #readSlice({ tensor, at, length }: Slice): Promise<Uint8Array<ArrayBuffer>> {
    if (tensor.place === null) throw new Error(`${tensor.name} is pooled: it can't be read from outside`);
    const bytes = BYTES_PER_ELEMENT[tensor.dtype];
    const buffer = this.#arenaBuffers(tensor.place.arena)[tensor.place.buffer];
    return this.#readBytes(buffer, tensor.place.offset + at * bytes, length * bytes);
  }

  async #readBytes(buffer: GPUBuffer, offset: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
    const { device } = this.#gpu;
    this.#gpu.check();
    const out = new Uint8Array(size);
    const chunk = 2 ** 26; // host-visible memory is scarce on some adapters
    for (let done = 0; done < size; done += chunk) {
      const part = Math.min(chunk, size - done);
      const staging = device.createBuffer({
        size: part,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, offset + done, staging, 0, part);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ).catch((error) => {
        this.#gpu.check();
        throw error;
      });
      out.set(new Uint8Array(staging.getMappedRange()), done);
      staging.destroy();
    }
    this.#gpu.check();
    return out;
  }

  /** Waits until all that was queued is done. */
  async idle(): Promise<void> {
    await this.#gpu.device.queue.onSubmittedWorkDone();
    this.#gpu.check();
  }

  close(): void {
    for (const buffer of this.#buffers()) buffer.destroy();
  }
}

/** Bytes of the pooled buffers that programs need which run one after the other. */
export function poolBytes(placements: readonly Placement[]): number[] {
  const most = Math.max(...placements.map(({ bufferBytes }) => bufferBytes.length));
  return Array.from(
    { length: most },
    (_, k) => Math.max(...placements.map(({ bufferBytes }) => bufferBytes[k] ?? 0)),
  );
}

/** Bytes of a program's uniforms. */
export function uniformBytes({ segments }: Placement): number {
  return Math.max(segments.reduce((sum, { dispatches }) => sum + dispatches.length, 0), 1) * ALIGNMENT;
}

/** A dispatch may bind a range for writing only if no other binding of it touches the same buffer. */
function checkOverlap(kernel: Kernel, bound: readonly { buffer: GPUBuffer }[]): void {
  bound.forEach(({ buffer }, i) => {
    if (kernel.slots[i].access === "read") return;
    const other = bound.findIndex((candidate, k) => k !== i && candidate.buffer === buffer);
    if (other >= 0) {
      throw new Error(
        `${kernel.key}: ${kernel.slots[i].name} and ${kernel.slots[other].name} lie in the same buffer`,
      );
    }
  });
}
