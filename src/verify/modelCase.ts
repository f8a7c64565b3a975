/**
 * Runs a reference case: a model with logits, loss, gradients and ten training steps that someone else computed. The
 * layout of a case's folder and the limits are those of tests/fixtures/README.md.
 */
import { join } from "@std/path";
import { deriveModel, type ModelSpec } from "../config/derive.ts";
import { type ModelConfig, modelSchema } from "../config/schema.ts";
import type { Batch } from "../data/batch.ts";
import { UserError } from "../errors.ts";
import { gpt2Tensors, readGpt2Config, readGpt2Weights, transpose } from "../formats/hf/gpt2.ts";
import { openModelFolder, openSafetensors, type TensorSource } from "../formats/safetensors.ts";
import { readStudyConfig } from "../formats/study.ts";
import type { GpuOptions } from "../gpu/device.ts";
import { openLocalEngine } from "../engine/localEngine.ts";
import { modelParameters } from "../model/parameters.ts";

/** One quantity of a case beside its reference. */
export interface Comparison {
  readonly case: string;
  readonly quantity: string;
  readonly maxError: number;
  readonly tolerance: number;
  readonly ok: boolean;
}

/** The limits of README.md, section "What must match". */
const LIMITS = {
  logits: (b: number) => 2e-5 + 2e-5 * Math.abs(b),
  loss: 1e-5,
  gradients: 2e-5, // of the tensor's largest value
  losses: 2e-5,
  gradNorms: 2e-5, // of the value
  final: 2e-5,
  learningRates: 1e-9,
};

/** The optimizer of README.md, section "Loss and optimizer". */
const OPTIMIZER = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
const STEPS = 10;

function learningRate(step: number): number {
  if (step <= 3) return 1e-3 * step / 3;
  return 1e-4 + (1e-3 - 1e-4) * 0.5 * (1 + Math.cos(Math.PI * (step - 3) / 7));
}

/** A case's model, and how its file names our parameters. */
interface CaseModel {
  readonly spec: ModelSpec;
  /** Our name -> its name in the file, and whether the file has it transposed. */
  readonly names: ReadonlyMap<string, { readonly name: string; readonly transpose: boolean }>;
  weights(source: TensorSource): Iterable<{ name: string; values: Float32Array }>;
}

/** The name of a case: the last two parts of its path. */
function caseName(folder: string): string {
  return folder.replace(/\/+$/, "").split("/").slice(-2).join("/");
}

/**
 * @param folder the case's folder
 * @param configName another spelling of its config.json
 * @throws UserError if the case needs an option that does not exist, which is named
 */
export async function verifyModelCase(
  folder: string,
  gpu: GpuOptions = {},
  configName = "config.json",
): Promise<Comparison[]> {
  const model = readCaseModel(JSON.parse(await Deno.readTextFile(join(folder, configName))), folder);
  using source = openModelFolder(folder);
  using reference = openSafetensors(join(folder, "reference.safetensors"));
  const [rows, columns] = reference.tensors.get("input_ids")!.shape;
  const batch: Batch = {
    rows,
    columns,
    inputs: reference.readInt("input_ids"),
    targets: reference.readInt("labels"),
    sampleIds: Uint32Array.from({ length: rows }, (_, i) => i),
  };
  const training = { ...OPTIMIZER, seed: 0, virtualWorkers: 1, recompute: false };
  const engine = await openLocalEngine({ model: model.spec, microBatchSize: rows, columns, training }, gpu);
  const name = configName === "config.json" ? caseName(folder) : `${caseName(folder)} (${configName})`;
  const results: Comparison[] = [];
  const compare = (
    quantity: string,
    found: ArrayLike<number>,
    wanted: ArrayLike<number>,
    limit: (b: number) => number,
  ) => results.push(comparison(name, quantity, found, wanted, limit));
  try {
    for (const { name, values } of model.weights(source)) {
      await engine.write("weights", name, Float32Array.from(values));
    }
    compare("logits", await engine.logits(batch), reference.read("logits"), LIMITS.logits);

    const { zLoss } = model.spec;
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 1; step <= STEPS; step++) {
      await engine.beginStep();
      await engine.accumulate(batch, step);
      await engine.endWorker(0);
      await engine.update({ step, learningRate: learningRate(step) });
      const [{ lossSum, zSum, targetCount, gradNorm }] = await engine.metrics();
      losses.push((lossSum + zLoss * zSum) / targetCount);
      norms.push(gradNorm);
      if (step > 1) continue;
      compare("cross_entropy", [lossSum / targetCount], reference.read("cross_entropy"), () => LIMITS.loss);
      compare("loss", losses, reference.read("loss"), () => LIMITS.loss);
      for (const parameter of engine.report.parameters) {
        const inFile = model.names.get(parameter.name)!;
        const wanted = reference.read(`grad.${inFile.name}`);
        const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const sums = await engine.read("gradient", parameter.name);
        const found = asInFile(sums.map((sum) => sum / targetCount), parameter.shape, inFile.transpose);
        compare(`grad.${inFile.name}`, found, wanted, () => LIMITS.gradients * largest);
      }
    }
    compare("losses", losses, reference.read("losses"), () => LIMITS.losses);
    compare("grad_norms", norms, reference.read("grad_norms"), (b) => LIMITS.gradNorms * b);
    const rates = Array.from({ length: STEPS }, (_, i) => learningRate(i + 1));
    compare("lrs", rates, reference.read("lrs"), () => LIMITS.learningRates);
    for (const parameter of engine.report.parameters) {
      const inFile = model.names.get(parameter.name)!;
      if (!reference.tensors.has(`final.${inFile.name}`)) continue;
      const found = asInFile(await engine.read("weights", parameter.name), parameter.shape, inFile.transpose);
      compare(`final.${inFile.name}`, found, reference.read(`final.${inFile.name}`), () => LIMITS.final);
    }
    return results;
  } finally {
    await engine.close();
  }
}

function asInFile(values: Float32Array, shape: readonly number[], isTransposed: boolean): Float32Array {
  return isTransposed ? transpose(values, shape[0], shape[1]) : values;
}

/** The largest error, and the limit where the two are closest to each other or the error is furthest beyond. */
function comparison(
  name: string,
  quantity: string,
  found: ArrayLike<number>,
  wanted: ArrayLike<number>,
  limit: (wanted: number) => number,
): Comparison {
  if (found.length !== wanted.length) {
    throw new UserError(`${name}: ${quantity} has ${wanted.length} values, the model has ${found.length}`);
  }
  let maxError = 0;
  let tolerance = limit(0);
  let worst = -1;
  for (let i = 0; i < wanted.length; i++) {
    const error = Math.abs(found[i] - wanted[i]);
    const allowed = limit(wanted[i]);
    // An error that is not a number counts as the largest.
    const share = Number.isNaN(error) ? Infinity : error === 0 ? 0 : error / allowed;
    if (share > worst) {
      worst = share;
      maxError = Number.isNaN(error) ? Infinity : error;
      tolerance = allowed;
    }
  }
  return { case: name, quantity, maxError, tolerance, ok: worst <= 1 };
}

function readCaseModel(config: Record<string, unknown>, folder: string): CaseModel {
  if (config.model_type === "gpt2") return hfGpt2(config);
  if (typeof config.model_type === "string") {
    throw new UserError(
      `${caseName(folder)} needs model_type "${config.model_type}", which does not exist; there is "gpt2"`,
    );
  }
  return study(config, folder);
}

const FIXED = { attentionDropout: 0, dropout: 0, initStd: 0.02, scaledResidualInit: true };

function hfGpt2(config: unknown): CaseModel {
  const architecture = readGpt2Config(config);
  const { numLayers, modelDim, numHeads, ffnDim, seqLen, vocabSize, activation, normEps, tied } =
    architecture;
  const model: ModelConfig = {
    ...FIXED,
    ...{ numLayers, modelDim, numHeads, ffnDim, seqLen, vocabSize, activation, normEps, tied },
    numKvHeads: null,
    positions: "learned",
    norm: "layernorm",
    bias: true,
    zLoss: 0,
  };
  return {
    spec: deriveModel(model, vocabSize),
    names: new Map(
      gpt2Tensors(architecture).map(({ name, hfName, transpose }) => [name, { name: hfName, transpose }]),
    ),
    weights: (source) => readGpt2Weights(source, architecture),
  };
}

/** Options of the study whose only value so far is this one. */
const STUDY_FIXED: Readonly<Record<string, unknown>> = {
  embeddingNorm: false,
  attention: "dense",
  objective: "causal",
  packed: false,
  restartPositions: false,
  parallelResidual: false,
};

function study(config: unknown, folder: string): CaseModel {
  const given: Record<string, unknown> = { ...readStudyConfig(config) };
  for (const [option, value] of Object.entries(STUDY_FIXED)) {
    if (given[option] !== value) {
      throw new UserError(
        `${caseName(folder)} needs ${option}=${
          JSON.stringify(given[option])
        }, which does not exist; there is ${JSON.stringify(value)}`,
      );
    }
  }
  const known = Object.keys(modelSchema.shape);
  const picked = Object.fromEntries(Object.entries(given).filter(([key]) => known.includes(key)));
  const parsed = modelSchema.safeParse({ ...FIXED, ...picked });
  if (!parsed.success) {
    const { path } = parsed.error.issues[0];
    const option = path.join(".");
    throw new UserError(
      `${caseName(folder)} needs ${option}=${JSON.stringify(given[option])}, which does not exist`,
    );
  }
  const spec = deriveModel(parsed.data, parsed.data.vocabSize!);
  const names = modelParameters(spec).map(({ name }) => [name, { name, transpose: false }] as const);
  return {
    spec,
    names: new Map(names),
    *weights(source) {
      for (const [name] of names) yield { name, values: source.read(name) };
    },
  };
}
