import { assert, assertAlmostEquals } from "@std/assert";
import type { Gpu } from "../../src/gpu/device.ts";
import { place } from "../../src/gpu/place.ts";
import { type Program, Runtime } from "../../src/gpu/program.ts";
import { Arena, type Tensor } from "../../src/gpu/tensor.ts";
import { activation } from "../../src/ops/activation.ts";
import { addInto } from "../../src/ops/add.ts";
import { attention } from "../../src/ops/attention.ts";
import { type OpName, references } from "../../src/ops/cases.ts";
import { OP_TOLERANCE } from "../../src/ops/check.ts";
import { crossEntropy } from "../../src/ops/crossEntropy.ts";
import { dropout } from "../../src/ops/dropout.ts";
import { embedding, sortTokens, type TokenInputs, tokenInputs } from "../../src/ops/embedding.ts";
import { Graph } from "../../src/ops/graph.ts";
import { linear } from "../../src/ops/linear.ts";
import { norm } from "../../src/ops/norm.ts";
import { positions } from "../../src/ops/positions.ts";
import type { Input, Options } from "../../src/ops/reference/types.ts";
import { normals, Stream, uniform } from "../../src/random.ts";
import { testGpu } from "../_gpu.ts";

/** Rows and columns: recorded, or in use. */
interface Size {
  readonly batch: number; // B
  readonly columns: number; // T
}

/** An op recorded for at most `recorded` rows and columns. */
interface LiveCase {
  readonly op: OpName;
  readonly options?: Options;
  readonly recorded: Size;
  /** Activations: values per token. */
  readonly activations: Readonly<Record<string, number>>;
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  record(graph: Graph, get: (name: string) => Tensor, tokens: TokenInputs, size: Size): Tensor | null;
}

const V = 11;
const KEY = { seed: 1234, site: 5, rate: 0.25 };
const HEADS = { numHeads: 4, numKvHeads: 2, headDim: 3 };
const recorded = { batch: 3, columns: 7 };

const cases: readonly LiveCase[] = [
  {
    op: "embedding",
    recorded,
    activations: {},
    parameters: { table: [V, 5] },
    record: (graph, get, tokens) => embedding(graph, tokens, get("table")),
  },
  {
    op: "positions",
    recorded,
    activations: { x: 5 },
    parameters: { table: [7, 5] },
    record: (graph, get) => positions(graph, get("x"), get("table")),
  },
  {
    op: "linear",
    recorded: { batch: 3, columns: 23 }, // 69 rows: more than a tile
    activations: { x: 5 },
    parameters: { weight: [6, 5], bias: [6] },
    record: (graph, get) => linear(graph, get("x"), get("weight"), get("bias")),
  },
  {
    op: "layerNorm",
    options: { eps: 1e-5 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 5 },
    parameters: { weight: [5], bias: [5] },
    record: (graph, get) => norm(graph, "layernorm", get("x"), get("weight"), get("bias"), 1e-5),
  },
  {
    op: "rmsNorm",
    options: { eps: 1e-5 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 8 },
    parameters: { weight: [8] },
    record: (graph, get) => norm(graph, "rmsnorm", get("x"), get("weight"), null, 1e-5),
  },
  {
    op: "activation",
    options: { kind: "swiglu" },
    recorded,
    activations: { x: 10 },
    parameters: {},
    record: (graph, get) => activation(graph, get("x"), "swiglu"),
  },
  {
    op: "dropout",
    options: { ...KEY, step: 3 },
    recorded,
    activations: { x: 5 },
    parameters: {},
    record: (graph, get) => dropout(graph, get("x"), KEY.rate, { ...KEY, samples: get("sampleIds") }),
  },
  {
    op: "attention",
    options: { ...HEADS, ...KEY, step: 3 },
    recorded: { batch: 3, columns: 70 }, // more than a block of queries
    activations: { qkv: 24 },
    parameters: {},
    record: (graph, get, _tokens, size) =>
      attention(graph, get("qkv"), {
        ...size,
        ...HEADS,
        rate: KEY.rate,
        key: { ...KEY, samples: get("sampleIds") },
      }),
  },
  {
    op: "crossEntropy",
    options: { zLoss: 0.1 },
    recorded: { batch: 3, columns: 23 },
    activations: { x: 5 },
    parameters: { weight: [V, 5] },
    record(graph, get) {
      const loss = { targets: get("targets"), losses: get("losses"), sums: get("sums") };
      crossEntropy(graph, get("x"), get("weight"), loss, 0.1);
      return null;
    },
  },
];

/** An op on the GPU, recorded once, run at any size up to the recorded one. */
class Harness {
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
    const { op, options = {}, activations, parameters } = this.live;
    const { batch, columns } = size;
    const rows = batch * columns;
    const inputs: Record<string, Input> = {};
    let sub = 0;
    const draw = (n: number) => Float64Array.from(normals(n, 1, rows, Stream.test, sub++));
    for (const [name, width] of Object.entries(activations)) {
      const hasBatch = ["positions", "dropout", "attention"].includes(op);
      const shape = hasBatch ? [batch, columns, width] : [rows, width];
      inputs[name] = { shape, values: draw(rows * width) };
    }
    for (const [name, shape] of Object.entries(parameters)) {
      inputs[name] = { shape, values: draw(shape.reduce((a, b) => a * b)) };
    }
    const id = (i: number) => Math.floor(uniform(rows, Stream.test, sub, i) * V);
    const ids = Int32Array.from({ length: rows }, (_, i) => id(i));
    inputs.ids = { shape: [rows], values: ids };
    inputs.targets = { shape: [rows], values: ids.map((value, i) => i % 3 === 1 ? -100 : value) };
    inputs.sampleIds = { shape: [batch], values: Int32Array.from({ length: batch }, (_, i) => 100 + i) };

    for (const [name, { values }] of Object.entries(inputs)) {
      if (name !== "ids") this.#write(this.#get(name), values);
    }
    const sorted = sortTokens(Uint32Array.from(ids), V);
    this.#write(this.#tokens.ids, ids);
    for (const name of ["distinctIds", "starts", "order"] as const) {
      this.#write(this.#tokens[name], sorted[name]);
    }
    for (const arena of [this.#gradients, this.#sums]) {
      if (arena.tensors.length > 0) this.#runtime.clear(arena);
    }
    const wanted = references[op].forward(inputs, options);
    const dOut = op === "crossEntropy" ? Float64Array.of(1) : draw(wanted.length);
    const seed = this.#losses.tensors.find(({ name }) => name === "output gradient");
    if (seed !== undefined) this.#write(seed, dOut);

    const distinct = sorted.distinctIds.length;
    this.#runtime.run(this.#program!, { rows, batch, columns, distinct, step: Number(options.step ?? 0) });

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
      assertClose(await this.#runtime.read(slice), values, `${where}: gradient of ${name}`);
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

for (const live of cases) {
  Deno.test(`${live.op} recorded for more rows and columns works on those in use`, async () => {
    const harness = new Harness(await testGpu(), live);
    try {
      await harness.open();
      const { batch, columns } = live.recorded;
      await harness.check(live.recorded);
      await harness.check({ batch: batch - 1, columns: columns - 2 });
      await harness.check({ batch, columns: 1 });
      await harness.check({ batch: 1, columns });
      await harness.check({ batch: 1, columns: 1 });
      await harness.check(live.recorded);
    } finally {
      harness.close();
    }
  });
}
