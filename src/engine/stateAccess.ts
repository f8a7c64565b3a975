import type { Runtime } from "../gpu/program.ts";
import type { Slice } from "../gpu/tensor.ts";
import type { CallOrder } from "./callOrder.ts";
import type { StateKind } from "./engine.ts";
import type { EngineTensors } from "./layout.ts";
import { StagedWrites } from "./stagedWrites.ts";

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
  readonly #writes: StagedWrites;
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
    this.#writes = new StagedWrites(runtime);
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
      const slice = this.#slice(kind, name);
      if (values.length !== slice.length) {
        throw new Error(`${name}: expected ${slice.length} values, found ${values.length}`);
      }
      await this.#writes.write(slice, values);
      if (kind !== "weights" || !this.#unwritten.delete(name)) return;
      const total = this.#tensors.weights.tensors.length;
      this.#onWeights(total - this.#unwritten.size, total);
    });
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
