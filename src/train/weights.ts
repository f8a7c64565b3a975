import { join } from "@std/path";
import type { ModelSpec } from "../config/derive.ts";
import { UserError } from "../errors.ts";
import { quote } from "../formats/file.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { Engine, StateKind } from "../engine/engine.ts";
import {
  type ModelSource,
  type NamedValues,
  readModelSpec,
  readModelWeights,
  sourceName,
} from "./modelFiles.ts";

/** Settings that change what a model computes but no shape. */
const MEANING = ["numHeads", "positions", "activation", "norm", "normEps", "bias", "tied"] as const;

/**
 * Puts the weights of a model folder on the engine, one tensor at a time.
 *
 * @param source a checkpoint, or a GPT-2 of Hugging Face
 * @throws UserError if the folder holds another model: which setting or tensor differs
 */
export async function loadWeights(engine: Engine, source: ModelSource, spec: ModelSpec): Promise<void> {
  const found = readModelSpec(source);
  const name = sourceName(source);
  for (const key of MEANING) {
    if (found[key] === spec[key]) continue;
    throw new UserError(
      `${quote(name)} holds a model with ${key} ${found[key]}, but model.${key} is ${spec[key]}; ` +
        `set model.${key}=${found[key]}`,
    );
  }
  await writeAll(engine, "weights", readModelWeights(source), name);
}

/** Puts AdamW's moments of a checkpoint on the engine. */
export async function loadMoments(engine: Engine, checkpoint: string): Promise<void> {
  using source = openSafetensors(join(checkpoint, "optimizer.safetensors"));
  for (const moment of ["moment1", "moment2"] as const) {
    const suffix = `.${moment}`;
    const stored = [...source.tensors].filter(([name]) => name.endsWith(suffix));
    const tensors = stored.values().map(([name, { shape }]) => ({
      name: name.slice(0, -suffix.length),
      shape,
      values: source.read(name),
    }));
    await writeAll(engine, moment, tensors, source.name);
  }
}

/** Writes every parameter of the engine exactly once. */
async function writeAll(engine: Engine, kind: StateKind, tensors: Iterable<NamedValues>, where: string) {
  const missing = new Map(engine.report.parameters.map(({ name, shape }) => [name, shape]));
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
    missing.delete(name);
  }
  if (missing.size > 0) {
    const [[name, shape]] = missing;
    throw new UserError(`${quote(where)} lacks ${name} [${shape}], which the run's model has`);
  }
}
