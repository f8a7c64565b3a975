import type { Gpu } from "../gpu/device.ts";
import { place } from "../gpu/place.ts";
import { Runtime } from "../gpu/program.ts";
import { Arena } from "../gpu/tensor.ts";
import type { OpCase, OpTensor } from "./cases.ts";
import { Graph } from "./graph.ts";
import {
  createOptimizer,
  type OptimizerOptions,
  recordUpdate,
  RING_FIELDS,
  RING_SLOTS,
} from "./optimizer.ts";

/**
 * Runs a case of the gradient norm or of an optimizer: one update of a single parameter.
 *
 * @returns the norm, or the new parameter and each tensor of the optimizer's state, in the order in which it lays them out
 */
export async function runUpdate(
  gpu: Gpu,
  opCase: OpCase,
  given: readonly OpTensor[],
): Promise<Map<string, Float32Array>> {
  const { op, options } = opCase;
  const optimizer = createOptimizer(optimizerOptions(opCase));
  const arena = (name: string) => new Arena(name, gpu.limits.maxBuffer);
  const values = new Map(given.map((tensor) => [tensor.name, tensor]));
  const gradient = (values.get("grad") ?? values.get("grads"))!;
  const weights = arena("weights");
  weights.add("param", gradient.shape);
  const gradients = weights.like("gradients");
  const state = optimizer.layOut(weights);
  const [sumsArena, controls, rings] = [arena("sums"), arena("control"), arena("ring")];
  const sums = sumsArena.add("sums", [4]);
  const control = controls.add("control", [4]);
  const ring = rings.add("ring", [RING_SLOTS, RING_FIELDS]);
  const graph = new Graph(gpu.limits, { parameterGradients: null });
  const tensors = { weights, gradients, state, sums, control, ring, decays: () => true };
  recordUpdate(graph, tensors, optimizer, Number(options.clip ?? 0));

  const stateTensors = state.flatMap(({ tensors }) => tensors);
  const nameOf = (name: string) => name.replace(/^param\./, "");
  const runtime = new Runtime(gpu);
  try {
    await runtime.allocate(weights, gradients, ...state, sumsArena, controls, rings);
    const [program] = await runtime.load([place(graph)]);
    runtime.write(gradients.tensors[0].whole(), Float32Array.from(gradient.values));
    for (const tensor of [...weights.tensors, ...stateTensors]) {
      const before = values.get(nameOf(tensor.name));
      if (before !== undefined) runtime.write(tensor.whole(), Float32Array.from(before.values));
    }
    runtime.write(sums.whole(), Float32Array.of(0, 0, Number(options.count), 0));
    runtime.run(program, {
      learningRate: Number(options.learningRate ?? 0),
      ...optimizer.live(Number(options.step ?? 1)),
    });
    if (op === "gradNorm") {
      return new Map([["output", (await runtime.read(ring.whole())).slice(4, 5)]]);
    }
    const found = new Map<string, Float32Array>();
    for (const tensor of [...weights.tensors, ...stateTensors]) {
      found.set(nameOf(tensor.name), await runtime.read(tensor.whole()));
    }
    return found;
  } finally {
    runtime.close();
  }
}

function optimizerOptions({ op, options }: OpCase): OptimizerOptions {
  const value = (name: string) => Number(options[name] ?? 0);
  const shared = { beta1: value("beta1"), weightDecay: value("weightDecay") };
  if (op !== "adafactor") return { kind: "adamw", ...shared, beta2: value("beta2"), eps: value("eps") };
  return {
    kind: "adafactor",
    ...shared,
    beta2: options.beta2 === undefined ? null : value("beta2"),
    eps: value("eps"),
    scaleParameter: options.scaleParameter === true,
  };
}
