import { join } from "@std/path";
import { type LocalEngineOptions, openLocalEngine } from "../engine/localEngine.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { openModelFolder, openSafetensors, type TensorSource } from "../formats/safetensors.ts";
import { readCaseBatch } from "./caseBatch.ts";
import { type CaseModel, readCaseModel } from "./caseModel.ts";
import { compareValues, type Comparison } from "./comparison.ts";
import { readFinite } from "./tensors.ts";

/** How far a quantity may be from a reference value. */
const LIMITS = {
  logits: (b: number) => 2e-5 + 2e-5 * Math.abs(b),
  loss: () => 1e-5,
  gradient: (largest: number) => () => 2e-5 * largest,
  losses: () => 2e-5,
  gradNorms: (b: number) => 2e-5 * b,
  learningRates: () => 1e-9,
  final: () => 2e-5,
};

const STEPS = 10;
const OPTIMIZER = { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 } as const;

/** Of step 1 to 10: up to 1e-3 in three steps, then along a cosine down to 1e-4. */
function learningRate(step: number): number {
  if (step <= 3) return 1e-3 * step / 3;
  return 1e-4 + (1e-3 - 1e-4) * 0.5 * (1 + Math.cos(Math.PI * (step - 3) / 7));
}

/**
 * Runs a reference case: a model with logits, loss, gradients and ten training steps that someone else computed.
 * Files, optimizer and limits are those of tests/fixtures/README.md, whose names the quantities have.
 *
 * @param folder holds model.safetensors and reference.safetensors
 * @param config the content of its config.json
 * @param caseName what the comparisons call it
 * @throws UserError for files that are missing, damaged or do not fit together, and for options that do not exist
 */
export async function* verifyModelCase(
  folder: string,
  config: unknown,
  caseName: string,
  options: LocalEngineOptions = {},
): AsyncGenerator<Comparison> {
  using source = openModelFolder(folder);
  const model = readCaseModel(config, (tensor) => source.tensors.has(tensor));
  using reference = openSafetensors(join(folder, "reference.safetensors"));
  const batch = readCaseBatch(reference, model);
  const weights = [...model.weights(source)];
  const { rows, columns } = batch;
  const { vocabSize, zLoss } = model.spec;
  const wanted = (name: string, shape: readonly number[]) => readFinite(reference, name, shape);
  const compare = (
    name: string,
    found: ArrayLike<number>,
    shape: readonly number[],
    limit: (wanted: number) => number,
  ) => compareValues(caseName, name, found, wanted(name, shape), limit);

  const training = { optimizer: OPTIMIZER, clip: 1, seed: 0, virtualWorkers: 1, recompute: false };
  const engine = await openLocalEngine(
    { model: model.spec, microBatchSize: rows, columns, sourceColumns: batch.source?.columns, training },
    options,
  );
  try {
    for (const { name, values } of weights) await engine.write("weights", name, values);
    yield compare("logits", await engine.logits(batch), [rows, columns, vocabSize], LIMITS.logits);

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
      yield compare("cross_entropy", [lossSum / targetCount], [], LIMITS.loss);
      yield compare("loss", losses, [], LIMITS.loss);
      for (const { name, fileName, shape, toFile } of model.tensors) {
        const sums = toFile(await engine.read("gradient", name)); // of the sum of the losses
        const gradient = `grad.${fileName}`;
        const largest = wanted(gradient, shape).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        yield compare(gradient, sums.map((sum) => sum / targetCount), shape, LIMITS.gradient(largest));
      }
    }
    yield compare("losses", losses, [STEPS], LIMITS.losses);
    yield compare("grad_norms", norms, [STEPS], LIMITS.gradNorms);
    const rates = Array.from({ length: STEPS }, (_, i) => learningRate(i + 1));
    yield compare("lrs", rates, [STEPS], LIMITS.learningRates);
    for (const { name, fileName, shape, toFile } of finalTensors(reference, model)) {
      yield compare(`final.${fileName}`, toFile(await engine.read("weights", name)), shape, LIMITS.final);
    }
  } finally {
    await engine.close();
  }
}

/** The tensors whose values after the last step the reference holds. */
function finalTensors(reference: TensorSource, { tensors }: CaseModel) {
  const byFileName = new Map(tensors.map((tensor) => [tensor.fileName, tensor]));
  const names = [...reference.tensors.keys()].filter((name) => name.startsWith("final."));
  return names.map((name) => {
    const tensor = byFileName.get(name.slice("final.".length));
    if (tensor !== undefined) return tensor;
    throw new UserError(`${quote(reference.name)} has ${quote(name)}, a parameter that the model lacks`);
  });
}
