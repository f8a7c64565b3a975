import type { Runtime } from "../gpu/program.ts";
import type { Slice } from "../gpu/tensor.ts";
import type { CallOrder } from "./callOrder.ts";
import type { StateKind } from "./engine.ts";
import type { EngineTensors } from "./layout.ts";

/** Bytes that are written between two waits: until then the driver holds a copy of them. */
const WRITE_BYTES = 2 ** 24;

/** Reads that were asked for one right after the other. */
interface ReadBatch {
  /** Its number among the calls. */
  readonly call: number;
  readonly slices: Slice[];
  readonly values: Promise<Float32Array<ArrayBuffer>[]>;
}

/** Copies an engine's state to the GPU and back, each call in its turn. */
export class StateAccess {
  readonly #runtime: Runtime;
  readonly #tensors: EngineTensors;
  readonly #calls: CallOrder;
  readonly #onWeights: (done: number, total: number) => void;
  /** Parameters whose weights were never written. */
  readonly #unwritten: Set<string>;
  /** Bytes written since the last wait. */
  #stagedBytes = 0;
  /** Null once it has begun. */
  #reads: ReadBatch | null = null;

  /** @param onWeights called as each parameter's weights are written for the first time */
  constructor(
    runtime: Runtime,
    tensors: EngineTensors,
    calls: CallOrder,
    onWeights: (done: number, total: number) => void,
  ) {
    this.#runtime = runtime;
    this.#tensors = tensors;
    this.#calls = calls;
    this.#onWeights = onWeights;
    this.#unwritten = new Set(tensors.weights.tensors.map(({ name }) => name));
  }

  #slice(kind: StateKind | "gradient", name: string): Slice {
    const { weights, optimizerState, partials } = this.#tensors;
    if (kind === "weights") return weights.get(name).whole();
    if (optimizerState.length === 0) throw new Error("This engine does not train");
    if (kind === "gradient") return partials[0].gradients.get(name).whole();
    const tensor = optimizerState.flatMap(({ tensors }) => tensors).find((tensor) => tensor.name === name);
    if (tensor === undefined) throw new Error(`No tensor ${name} in the optimizer's state`);
    return tensor.whole();
  }

  /** See Engine.write. */
  write(kind: StateKind, name: string, values: Float32Array<ArrayBuffer>): Promise<void> {
    return this.#calls.run(async () => {
      const { tensor, length } = this.#slice(kind, name);
      if (values.length !== length) {
        throw new Error(`${name}: expected ${length} values, found ${values.length}`);
      }
      const portion = WRITE_BYTES / values.BYTES_PER_ELEMENT;
      for (let at = 0; at < length; at += portion) {
        const part = values.subarray(at, at + portion);
        this.#runtime.write({ tensor, at, length: part.length }, part);
        await this.#bound(part.byteLength);
      }
      if (kind !== "weights" || !this.#unwritten.delete(name)) return;
      const total = this.#tensors.weights.tensors.length;
      this.#onWeights(total - this.#unwritten.size, total);
    });
  }

  async #bound(bytes: number): Promise<void> {
    this.#runtime.flush();
    this.#stagedBytes += bytes;
    if (this.#stagedBytes < WRITE_BYTES) return;
    await this.#runtime.idle();
    this.#stagedBytes = 0;
  }

  /** See Engine.read. */
  async read(kind: StateKind | "gradient", name: string): Promise<Float32Array<ArrayBuffer>> {
    const slice = this.#slice(kind, name);
    if (this.#reads?.call !== this.#calls.count) this.#reads = this.#beginReads();
    const { slices, values } = this.#reads;
    const index = slices.push(slice) - 1;
    return (await values)[index];
  }

  #beginReads(): ReadBatch {
    const slices: Slice[] = [];
    const values = this.#calls.run(() => {
      if (this.#reads?.slices === slices) this.#reads = null;
      return this.#runtime.readAll(slices);
    });
    return { call: this.#calls.count, slices, values };
  }
}
