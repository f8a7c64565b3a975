import { join } from "@std/path";
import { POSITIONS } from "../config/axes.ts";
import type { ModelSpec } from "../config/deriveModel.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import type { NamedValues } from "../formats/hf/read.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { Engine, StateKind } from "../engine/engine.ts";
import { type ModelSource, readModelSpec, readModelWeights, sourceName } from "./modelFiles.ts";

/**
 * Puts the weights of a model folder on the engine, one tensor at a time.
 *
 * @param source a checkpoint, or a model of Hugging Face
 * @param fit makes of each tensor what the engine's model has; by default it is to be that
 * @throws UserError if the folder holds another model: which settings or tensor differ
 */
export async function loadWeights(
  engine: Engine,
  source: ModelSource,
  spec: ModelSpec,
  fit: (tensor: NamedValues) => NamedValues = (tensor) => tensor,
): Promise<void> {
  requireSameModel(sourceName(source), readModelSpec(source), spec);
  await writeAll(engine, "weights", readModelWeights(source).map(fit), sourceName(source));
}

/**
 * Holds a model folder against the model that is to go on with its weights, without reading them. What says nothing of
 * them may differ: the objective and its masks, dropout, the z-loss, initial values, and the length of rows where
 * positions are not learned. The table of tokens may become longer, as new rows are new tokens' own, and that of learned
 * positions shorter; a longer one would have positions that were never trained.
 *
 * @param found the folder's model @param where what messages call the folder
 * @throws UserError that names every setting that differs
 */
export function requireSameModel(where: string, found: ModelSpec, spec: ModelSpec): void {
  const isRight = (key: keyof ModelSpec) => {
    if (key === "vocabSize") return spec.vocabSize >= found.vocabSize;
    if (key === "seqLen") return spec.seqLen <= found.seqLen;
    return spec[key] === found[key];
  };
  const different = meaningOf(spec).filter((key) => !isRight(key));
  if (different.length === 0) return;
  const expected = (key: keyof ModelSpec) => {
    if (key === "vocabSize") return `at least ${found.vocabSize}`;
    if (key === "seqLen") return `at most ${found.seqLen}, where the learned positions end`;
    return quote(found[key]);
  };
  const list = different.map((key) => `model.${key} is ${quote(spec[key])}, expected ${expected(key)}`);
  throw new UserError(
    `The weights of ${quote(where)} are another model's: ${list.join("; ")}; ` +
      "leave such settings out, and they are taken from there",
  );
}

/** The settings that shape a model's weights or decide what they mean. */
function meaningOf({ positions }: ModelSpec): (keyof ModelSpec)[] {
  const { settings, rowPerPlace } = POSITIONS[positions];
  return [
    ...["numLayers", "numEncoderLayers", "modelDim", "numHeads", "numKvHeads", "headDim"] as const,
    ...["ffnDim", "vocabSize", "activation", "norm", "normEps", "embeddingNorm", "qkNorm"] as const,
    ...["parallelResidual", "scaleScores", "scaleOutput", "bias", "tied", "positions"] as const,
    ...["logitSoftCap"] as const,
    ...settings,
    ...(rowPerPlace ? ["seqLen"] as const : []),
  ];
}

/** Puts what the optimizer of a checkpoint remembers on the engine. */
export async function loadOptimizer(engine: Engine, checkpoint: string): Promise<void> {
  using source = openSafetensors(join(checkpoint, "optimizer.safetensors"));
  const tensors = source.tensors.entries().map(([name, { shape }]) => ({
    name,
    shape,
    values: source.read(name),
  }));
  await writeAll(engine, "optimizer", tensors, source.name);
}

/** Makes the optimizer remember nothing. */
export async function clearOptimizer(engine: Engine): Promise<void> {
  for (const { name, shape } of engine.report.optimizerState) {
    await engine.write("optimizer", name, new Float32Array(shape.reduce((a, b) => a * b, 1)));
  }
}

/** Writes every tensor of a kind exactly once. */
async function writeAll(engine: Engine, kind: StateKind, tensors: Iterable<NamedValues>, where: string) {
  const { parameters, optimizerState } = engine.report;
  const wanted = kind === "weights" ? parameters : optimizerState;
  const missing = new Map(wanted.map(({ name, shape }) => [name, shape]));
  for (const { name, shape, values } of tensors) {
    const expected = missing.get(name);
    if (expected === undefined) {
      throw new UserError(`${quote(where)} has a tensor ${name}, which the run's model lacks`);
    }
    if (String(shape) !== String(expected)) {
      throw new UserError(
        `${quote(where)} has ${name} with shape [${shape}], but the run's model has [${expected}]; ` +
          "set the model's sizes to those of the weights",
      );
    }
    await engine.write(kind, name, values);
    values.buffer.transfer(0); // frees it now: the collector would let several pile up
    missing.delete(name);
  }
  if (missing.size > 0) {
    const [[name, shape]] = missing;
    throw new UserError(`${quote(where)} lacks ${name} [${shape}], which the run's model has`);
  }
}
