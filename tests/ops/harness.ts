import { assert, assertAlmostEquals } from "@std/assert";
import type { Gpu } from "../../src/gpu/device.ts";
import { place } from "../../src/gpu/place.ts";
import { type Program, Runtime } from "../../src/gpu/program.ts";
import { Arena, type Tensor } from "../../src/gpu/tensor.ts";
import { addInto } from "../../src/ops/add.ts";
import { type OpName, references } from "../../src/ops/cases.ts";
import { OP_TOLERANCE } from "../../src/ops/check.ts";
import { sortTokens, type TokenInputs, tokenInputs } from "../../src/ops/embedding.ts";
import { Graph } from "../../src/ops/graph.ts";
import type { Input, Options } from "../../src/ops/reference/types.ts";
import { normals, Stream, uniform } from "../../src/random.ts";

/** Buckets of the distances from -2 to 2. */
export const BUCKETS = [2, 2, 0, 1, 3];

/** Token ids are below this. */
export const VOCAB_SIZE = 11;

/** Rows and columns: recorded, or in use. */
export interface Size {
  readonly batch: number; // B
  readonly columns: number; // T
}

/** An op recorded for at most `recorded` rows and columns. */
export interface LiveCase {
  readonly op: OpName;
  /** Default: the op's name. */
  readonly name?: string;
  readonly options?: Options;
  readonly recorded: Size;
  /** Activations: values per token. */
  readonly activations: Readonly<Record<string, number>>;
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  /** The op is recorded this often on the same inputs, and the results are added. */
  readonly times?: number;
  record(graph: Graph, get: (name: string) => Tensor, tokens: TokenInputs, size: Size): Tensor | null;
}

/** An op on the GPU, recorded once, run at any size up to the recorded one. */
export class Harness {
  readonly #inputs: Arena;
  readonly #gradients: Arena;
  readonly #results: Arena;
  readonly #losses: Arena;
  readonly #sums: Arena;
  readonly #tokens: TokenInputs;
  readonly #graph: Graph;
  readonly #runtime: Runtime;
  #program: Program | null = null;

  constructor(gpu: Gpu, readonly live: LiveCase) {
    const arena = (name: string) => new Arena(name, gpu.limits.maxBuffer);
    [this.#inputs, this.#gradients, this.#results] = [arena("inputs"), arena("gradients"), arena("results")];
    [this.#losses, this.#sums] = [arena("losses"), arena("sums")];
    this.#runtime = new Runtime(gpu);
    const { batch, columns } = live.recorded;
    const M = batch * columns;
    const parameterGradients = new Map<Tensor, Tensor>();
    for (const [name, shape] of Object.entries(live.parameters)) {
      parameterGradients.set(this.#inputs.add(name, shape), this.#gradients.add(name, shape));
    }
    for (const [name, width] of Object.entries(live.activations)) this.#inputs.add(name, [M, width]);
    this.#tokens = tokenInputs(this.#inputs, M);
    this.#inputs.add("sampleIds", [batch], "u32");
    this.#inputs.add("targets", [M], "i32");
    this.#inputs.add("places", [M], "u32");
    this.#inputs.add("spans", [M, 2], "u32");
    this.#inputs.add("buckets", [BUCKETS.length], "u32");
    this.#losses.add("losses", [M, 2]);
    this.#sums.add("sums", [4]);
    this.#graph = new Graph(gpu.limits, { parameterGradients });
    this.#record(M);
  }

  #get(name: string): Tensor {
    const arenas = { losses: this.#losses, sums: this.#sums };
    return (arenas[name as keyof typeof arenas] ?? this.#inputs).get(name);
  }

  #record(M: number): void {
    const graph = this.#graph;
    const { live } = this;
    for (const name of Object.keys(live.activations)) graph.require(this.#get(name));
    const y = live.record(graph, (name) => this.#get(name), this.#tokens, live.recorded);
    if (y !== null) {
      const width = y.size / M;
      const seed = this.#losses.add("output gradient", [M, width]);
      addInto(graph, { tensor: this.#results.add("output", [M, width]), accumulate: 0 }, y);
      graph.seed(y, seed);
      graph.backward();
    }
    for (const [name, width] of Object.entries(live.activations)) {
      const gradient = graph.gradientOf(this.#get(name))!;
      addInto(graph, { tensor: this.#results.add(name, [M, width]), accumulate: 0 }, gradient);
    }
  }

  async open(): Promise<void> {
    for (const arena of [this.#inputs, this.#gradients, this.#results, this.#losses, this.#sums]) {
      if (arena.tensors.length > 0) await this.#runtime.allocate(arena);
    }
    [this.#program] = await this.#runtime.load([place(this.#graph)]);
  }

  /** Writes the rows in use; those behind them become NaN, which nothing may pick up. */
  #write(tensor: Tensor, values: ArrayLike<number>): void {
    if (tensor.dtype === "f32") {
      const padded = new Float32Array(tensor.size).fill(NaN);
      padded.set(values);
      this.#runtime.write(tensor.whole(), padded);
    } else {
      this.#runtime.write({ tensor, at: 0, length: values.length }, Int32Array.from(values));
    }
  }

  /** Runs at a size and compares with the reference at that size. */
  async check(size: Size): Promise<void> {
    const { op, options = {}, activations, parameters, times = 1 } = this.live;
    const { batch, columns } = size;
    const rows = batch * columns;
    const inputs: Record<string, Input> = {};
    let sub = 0;
    const draw = (n: number) => Float64Array.from(normals(n, 1, rows, Stream.test, sub++));
    for (const [name, width] of Object.entries(activations)) {
      const hasBatch = ["dropout", "attention"].includes(op);
      const shape = hasBatch ? [batch, columns, width] : [rows, width];
      inputs[name] = { shape, values: draw(rows * width) };
    }
    for (const [name, shape] of Object.entries(parameters)) {
      inputs[name] = { shape, values: draw(shape.reduce((a, b) => a * b)) };
    }
    const id = (i: number) => Math.floor(uniform(rows, Stream.test, sub, i) * VOCAB_SIZE);
    const ids = Int32Array.from({ length: rows }, (_, i) => id(i));
    inputs.ids = { shape: [rows], values: ids };
    inputs.targets = { shape: [rows], values: ids.map((value, i) => i % 3 === 1 ? -100 : value) };
    inputs.places = { shape: [rows], values: ids };
    const spans = Int32Array.from({ length: 2 * rows }, (_, i) => i % 2 * (Math.floor(i / 2) % columns + 1));
    inputs.spans = { shape: [batch, columns, 2], values: spans };
    inputs.buckets = { shape: [BUCKETS.length], values: Int32Array.from(BUCKETS) };
    inputs.sampleIds = { shape: [batch], values: Int32Array.from({ length: batch }, (_, i) => 100 + i) };

    for (const [name, { values }] of Object.entries(inputs)) {
      if (name !== "ids") this.#write(this.#get(name), values);
    }
    const sorted = sortTokens(Uint32Array.from(ids), VOCAB_SIZE);
    this.#write(this.#tokens.ids, ids);
    for (const name of ["distinctIds", "starts", "order"] as const) {
      this.#write(this.#tokens[name], sorted[name]);
    }
    for (const arena of [this.#gradients, this.#sums]) {
      if (arena.tensors.length > 0) this.#runtime.clear(arena);
    }
    const wanted = references[op].forward(inputs, options).map((value) => times * value);
    const dOut = op === "crossEntropy" ? Float64Array.of(1) : draw(wanted.length);
    const seed = this.#losses.tensors.find(({ name }) => name === "output gradient");
    if (seed !== undefined) this.#write(seed, dOut);

    const distinct = sorted.distinctIds.length;
    const step = Number(options.step ?? 0);
    this.#runtime.run(this.#program!, { rows, batch, columns, source: columns, distinct, step });

    const where = `${op} at ${batch} x ${columns}`;
    if (op === "crossEntropy") {
      const [loss, z] = await this.#runtime.read(this.#sums.get("sums").whole());
      assertAlmostEquals(loss + 0.1 * z, wanted[0], OP_TOLERANCE * Math.abs(wanted[0]), where);
    } else {
      assertClose(await this.#runtime.read(this.#results.get("output").rows(0, rows)), wanted, where);
    }
    for (const [name, values] of Object.entries(references[op].backward(inputs, dOut, options))) {
      const tensor = name in parameters ? this.#gradients.get(name) : this.#results.get(name);
      const slice = name in parameters ? tensor.whole() : tensor.rows(0, rows);
      assertClose(
        await this.#runtime.read(slice),
        values.map((value) => times * value),
        `${where}: gradient of ${name}`,
      );
    }
  }

  close(): void {
    this.#runtime.close();
  }
}

function assertClose(found: Float32Array, wanted: Float64Array, where: string): void {
  assert(found.length === wanted.length, `${where}: ${found.length} values for ${wanted.length}`);
  const scale = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
  wanted.forEach((value, i) => assertAlmostEquals(found[i], value, OP_TOLERANCE * scale, `${where}: ${i}`));
}
