/**
 * Runs one case of an op on the GPU, forward and backward, and compares it with the f64 reference.
 */
import type { Activation } from "../config/axes.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Live } from "../gpu/kernel.ts";
import { place } from "../gpu/place.ts";
import { type HostArray, Runtime } from "../gpu/program.ts";
import { Arena, type Tensor } from "../gpu/tensor.ts";
import { activation } from "./activation.ts";
import { add, addAll, addInto } from "./add.ts";
import { attention, type AttentionBias } from "./attention.ts";
import { type OpCase, referenceInputs, references } from "./cases.ts";
import { runUpdate } from "./checkUpdate.ts";
import { crossEntropy } from "./crossEntropy.ts";
import { distanceBias } from "./distanceBias.ts";
import { dropout, type DropoutKey } from "./dropout.ts";
import { embedding, sortTokens, tokenInputs } from "./embedding.ts";
import { Graph } from "./graph.ts";
import { headNorm } from "./headNorm.ts";
import { linear } from "./linear.ts";
import { norm } from "./norm.ts";
import { scale } from "./scale.ts";
import { rotary } from "./rotary.ts";

export interface Comparison {
  readonly case: string;
  /** `output`, `grad.<input>`, or what an optimizer has updated: `param` or a tensor of its state. */
  readonly quantity: string;
  readonly maxError: number;
  /** What the largest error may be. */
  readonly tolerance: number;
  readonly ok: boolean;
}

/** Largest error relative to the largest value of a tensor; f32 against f64. */
export const OP_TOLERANCE = 2e-5;

/** A reference that is all zeros is held to this times OP_TOLERANCE. */
const SMALLEST_SCALE = 1e-3;

/** Runs a case. @throws Error if the GPU refuses something. */
export async function checkCase(gpu: Gpu, opCase: OpCase): Promise<Comparison[]> {
  const tensors = opCase.tensors();
  const inputs = referenceInputs(tensors);
  const reference = references[opCase.op];
  const wanted = reference.forward(inputs, opCase.options);
  if (["gradNorm", "adamw", "adafactor"].includes(opCase.op)) {
    let at = 0;
    return [...await runUpdate(gpu, opCase, tensors)].map(([quantity, values]) => {
      return compare(opCase, quantity, values, wanted.subarray(at, at += values.length));
    });
  }
  const found = await runOp(gpu, opCase);
  const results = [compare(opCase, "output", found.output, wanted)];
  const dOut = Float64Array.from(outputGradient(opCase, wanted.length));
  const gradients = reference.backward(inputs, dOut, opCase.options);
  for (const [name, values] of found.gradients) {
    results.push(compare(opCase, `grad.${name}`, values, gradients[name]));
  }
  return results;
}

/** Of a loss, 1; else fixed numbers of both signs, different from one another. */
function outputGradient({ op }: OpCase, length: number): Float32Array<ArrayBuffer> {
  if (op === "crossEntropy") return Float32Array.of(1);
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7 + 0.3));
}

function compare(opCase: OpCase, quantity: string, found: Float32Array, wanted: Float64Array): Comparison {
  let maxError = 0;
  let scale = SMALLEST_SCALE;
  if (found.length !== wanted.length) {
    throw new Error(`${opCase.op} ${opCase.name}: ${found.length} values for ${wanted.length}`);
  }
  for (let i = 0; i < wanted.length; i++) {
    const error = Math.abs(found[i] - wanted[i]);
    // NaN compares false with everything: make it the largest error instead.
    maxError = Number.isNaN(error) ? Infinity : Math.max(maxError, error);
    scale = Math.max(scale, Math.abs(wanted[i]));
  }
  const tolerance = OP_TOLERANCE * scale;
  return { case: `${opCase.op} ${opCase.name}`, quantity, maxError, tolerance, ok: maxError <= tolerance };
}

/** What came out of a case; gradients by the names of the inputs. */
export interface Found {
  readonly output: Float32Array;
  readonly gradients: Map<string, Float32Array>;
}

/** Runs a case that is no update of an optimizer. @throws Error if the GPU refuses something. */
export async function runOp(gpu: Gpu, opCase: OpCase): Promise<Found> {
  const given = opCase.tensors();
  const { limits } = gpu;
  const arena = new Arena("inputs", limits.maxBuffer);
  const gradientArena = new Arena("gradients", limits.maxBuffer);
  const results = new Arena("results", limits.maxBuffer);
  const seeds = new Arena("output gradient or losses", limits.maxBuffer);
  const byName = new Map(given.map((tensor) => [tensor.name, tensor]));

  // Activations come as rows of tokens: (B, T, C) is (B*T, C).
  const first = byName.get("x") ?? byName.get("qkv") ?? byName.get("q") ?? byName.get("a") ??
    byName.get("ids")!;
  const shape = first.shape;
  const isBatch = shape.length === 3;
  const [batch, columns] = isBatch ? shape : [1, shape[0]];
  const source = byName.get("kv")?.shape[1];
  const live: Live = {
    rows: batch * columns,
    batch,
    columns,
    source,
    step: Number(opCase.options.step ?? 0),
  };
  const isActivation = (name: string) => ["x", "qkv", "q", "kv", "a", "b"].includes(name);

  const parameters = new Map<Tensor, Tensor>();
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, kind, grad } of given) {
    const rows = shape.length === 3 ? [shape[0] * shape[1], shape[2]] : shape;
    const tensor = arena.add(name, rows, kind === "float" ? "f32" : name === "targets" ? "i32" : "u32");
    tensors.set(name, tensor);
    if (grad && !isActivation(name)) parameters.set(tensor, gradientArena.add(name, rows));
  }
  const tokens = byName.has("ids") ? tokenInputs(arena, columns) : null;
  const sums = results.add("sums", [4]);

  const graph = new Graph(limits, { parameterGradients: parameters });
  for (const { name, grad } of given) if (grad && isActivation(name)) graph.require(tensors.get(name)!);
  const wantedGradients = new Map<string, Tensor>();
  let output: Tensor;
  graph.segment("forward", () => {});
  if (opCase.op === "crossEntropy") {
    const losses = seeds.add("losses", [columns, 2]);
    const loss = { targets: tensors.get("targets")!, losses, sums };
    crossEntropy(graph, tensors.get("x")!, tensors.get("weight")!, loss, {
      zLoss: Number(opCase.options.zLoss),
      logitSoftCap: Number(opCase.options.softCap) || null,
    });
    output = sums;
  } else {
    const y = recordForward(graph, opCase, tensors, tokens, { batch, columns });
    output = results.add("output", y.shape);
    addInto(graph, { tensor: output, accumulate: 0 }, y);
    const seed = seeds.add("output gradient", y.shape);
    graph.seed(y, seed);
    graph.backward();
  }
  for (const { name, grad } of given) {
    const tensor = tensors.get(name)!;
    if (!grad) continue;
    const gradient = graph.gradientOf(tensor)!;
    if (gradient.place !== null && gradient.place.arena === gradientArena) {
      wantedGradients.set(name, gradient);
    } else {
      const copy = results.add(`grad ${name}`, gradient.shape);
      addAll(graph, copy, gradient);
      wantedGradients.set(name, copy);
    }
  }

  const runtime = new Runtime(gpu);
  try {
    for (const each of [arena, gradientArena, results, seeds]) await runtime.allocate(each);
    const [program] = await runtime.load([place(graph)]);
    for (const { name, values } of given) {
      const tensor = tensors.get(name)!;
      const host: HostArray = tensor.dtype === "f32" ? Float32Array.from(values) : Int32Array.from(values);
      runtime.write(tensor.whole(), host);
    }
    if (opCase.op !== "crossEntropy") {
      runtime.write(seeds.tensors[0].whole(), outputGradient(opCase, seeds.tensors[0].size));
    }
    if (tokens !== null) {
      const ids = Uint32Array.from(byName.get("ids")!.values);
      const sorted = sortTokens(ids, byName.get("table")!.shape[0]);
      runtime.write(tokens.ids.whole(), ids);
      runtime.write(tokens.distinctIds.rows(0, sorted.distinctIds.length), sorted.distinctIds);
      runtime.write(tokens.starts.rows(0, sorted.starts.length), sorted.starts);
      runtime.write(tokens.order.whole(), sorted.order);
      live.distinct = sorted.distinctIds.length;
    }
    runtime.run(program, live);
    const gradients = new Map<string, Float32Array>();
    for (const [name, tensor] of wantedGradients) gradients.set(name, await runtime.read(tensor.whole()));
    const values = await runtime.read(output.whole());
    if (opCase.op !== "crossEntropy") return { output: values, gradients };
    return { output: Float32Array.of(values[0] + Number(opCase.options.zLoss) * values[1]), gradients };
  } finally {
    runtime.close();
  }
}

function recordForward(
  graph: Graph,
  { op, options }: OpCase,
  tensors: ReadonlyMap<string, Tensor>,
  tokens: ReturnType<typeof tokenInputs> | null,
  { batch, columns }: { batch: number; columns: number },
): Tensor {
  const get = (name: string) => tensors.get(name)!;
  const rate = Number(options.rate ?? 0);
  const key: DropoutKey | undefined = rate > 0
    ? { seed: Number(options.seed), site: Number(options.site), samples: get("sampleIds") }
    : undefined;
  switch (op) {
    case "embedding":
      return embedding(graph, tokens!, get("table"));
    case "scale":
      return scale(graph, get("x"), Number(options.factor));
    case "rotary":
      return rotary(graph, get("x"), get("places"), get("table"), {
        numHeads: Number(options.numHeads),
        headDim: Number(options.headDim),
        rotaryDim: get("table").shape[1],
        interleaved: options.interleaved === true,
      });
    case "linear":
      return linear(graph, get("x"), get("weight"), tensors.get("bias") ?? null);
    case "layerNorm":
      return norm(
        graph,
        "layernorm",
        get("x"),
        get("weight"),
        tensors.get("bias") ?? null,
        Number(options.eps),
      );
    case "rmsNorm":
      return norm(graph, "rmsnorm", get("x"), get("weight"), null, Number(options.eps));
    case "headNorm": {
      const keyWeight = tensors.get("keyWeight");
      const runs = [{ numHeads: Number(options.numHeads), weight: get("weight") }];
      if (keyWeight) runs.push({ numHeads: Number(options.numKeyHeads), weight: keyWeight });
      return headNorm(graph, get("x"), runs, Number(options.eps));
    }
    case "activation":
      return activation(graph, get("x"), options.kind as Activation);
    case "add":
      return add(graph, get("a"), get("b"));
    case "dropout":
      return dropout(graph, get("x"), rate, key!);
    case "attention":
      return recordAttention(graph, options, tensors, { batch, columns, rate, key });
    default:
      throw new Error(`${op} has no output of its own`);
  }
}

function recordAttention(
  graph: Graph,
  options: OpCase["options"],
  tensors: ReadonlyMap<string, Tensor>,
  { batch, columns, ...dropping }: { batch: number; columns: number; rate: number; key?: DropoutKey },
): Tensor {
  const [numHeads, numKvHeads, headDim] = ["numHeads", "numKvHeads", "headDim"].map((name) => {
    return Number(options[name]);
  });
  const get = (name: string) => tensors.get(name)!;
  const isCross = tensors.has("kv");
  const heads = (name: string, offset: number) => ({ tensor: get(name), offset: offset * headDim });
  const [key, value] = isCross
    ? [heads("kv", 0), heads("kv", numKvHeads)]
    : [heads("qkv", numHeads), heads("qkv", numHeads + numKvHeads)];
  const bias: AttentionBias | null = tensors.has("slopes")
    ? { kind: "alibi", slopes: get("slopes") }
    : tensors.has("table")
    ? distanceBias(graph, get("table"), get("buckets"))
    : null;
  return attention(graph, heads(isCross ? "q" : "qkv", 0), key, value, {
    batch,
    columns,
    numHeads,
    numKvHeads,
    headDim,
    keys: isCross ? { of: "source", rows: get("kv").shape[0] / batch } : { of: "own", rows: columns },
    spans: get("spans"),
    causal: Boolean(options.causal),
    window: Number(options.window) || null,
    scale: Number(options.scale),
    bias,
    ...dropping,
  });
}
