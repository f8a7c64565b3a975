import { createHash } from "node:crypto";
import { deriveModel } from "../config/deriveModel.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { digestOf } from "./digest.ts";
import { writeFirstWeights } from "./firstWeights.ts";
import { modelTensors, optimizerTensors } from "./modelFiles.ts";
import { sumGradients } from "./trainStep.ts";
import { clearOptimizer } from "./weights.ts";

/**
 * What this engine's adapter makes of one training step: random weights, a micro-batch of the run's data, every op of
 * the run's model and optimizer. Adapters with the same probe are taken to compute the same bits.
 *
 * @returns SHA-256 (hex) of the gradients, their norm and the state after the step. The engine's state is of no use after
 * @throws the signal's reason
 */
export async function probeEngine(
  config: RunConfig,
  engine: Engine,
  dataset: Dataset,
  signal?: AbortSignal,
): Promise<string> {
  const spec = deriveModel(config.model, dataset.vocabSize);
  await clearOptimizer(engine);
  const random = { ...config, from: null };
  await writeFirstWeights({ config: random, engine, spec, dataset, onMessage: () => {}, signal });
  const { learningRate } = config.optimizer;
  const step = { step: 1, learningRate, firstSample: 0, batchSize: engine.report.microBatchSize };
  await sumGradients(engine, dataset, step, 1, { from: 0, to: 1 }, signal);
  signal?.throwIfAborted();
  const sum = await engine.readSum();
  await engine.update(step);
  const [{ gradNorm, halted }] = await engine.metrics();
  if (halted) await engine.clearHalt();
  return createHash("sha256")
    .update(sum)
    .update(new Float64Array([gradNorm]))
    .update(await digestOf(modelTensors(engine, spec), optimizerTensors(engine)))
    .digest("hex");
}
