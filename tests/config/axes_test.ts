import { assert, assertEquals } from "@std/assert";
import { VARIANTS } from "../../bench/variants.ts";
import { ACTIVATIONS, namesOf } from "../../src/config/axes.ts";
import { PLAIN_GPT } from "../../src/config/deriveModel.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { MODEL_AXES } from "../../src/config/modelAxes.ts";
import { type ModelConfig, modelSchema } from "../../src/config/schema.ts";
import { opCases } from "../../src/ops/cases.ts";
import { gridModels } from "../engine/grid.ts";

/** Sizes, and numbers that belong to a kind. */
const NUMBERS: readonly (keyof ModelConfig)[] = [
  ...["numLayers", "numEncoderLayers", "modelDim", "numHeads", "ffnDim", "seqLen", "vocabSize"] as const,
  ...["rotaryBase", "rotaryFraction", "t5NumBuckets", "t5MaxDistance", "window"] as const,
  ...["normEps", "initStd"] as const,
];

/** Numbers that are an axis of their own: off in a plain GPT. */
const SWITCHES = (Object.keys(modelSchema.shape) as (keyof ModelConfig)[])
  .filter((key) => !NUMBERS.includes(key) && !(key in MODEL_AXES));

const models = gridModels().map(({ model }) => model);
const variants = Object.values(VARIANTS).flat();

for (const [axis, values] of Object.entries(MODEL_AXES)) {
  Deno.test(`every value of model.${axis} has a model in the grid, a benchmark and a word in the README`, async () => {
    const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
    for (const value of values) {
      assert(models.some((model) => Object(model)[axis] === value), `no model of the grid has ${value}`);
      const isPlain = Object(PLAIN_GPT)[axis] === value;
      assert(isPlain || variants.includes(`model.${axis}=${value}`), `bench variants has no ${value}`);
      const row = readme.split("\n").find((line) =>
        line.startsWith("|") && line.includes(`\`model.${axis}\``)
      );
      assert(row?.includes(typeof value === "boolean" ? axis : `\`${value}\``), `the README lacks ${value}`);
    }
  });
}

Deno.test("every number that is an axis of its own varies in the grid and the benchmark", () => {
  assertEquals(SWITCHES, ["numKvHeads", "headDim", "dropout", "attentionDropout", "logitSoftCap", "zLoss"]);
  for (const key of SWITCHES) {
    assert(
      new Set(models.map((model) => model[key])).size > 1,
      `all models of the grid have the same ${key}`,
    );
    assert(variants.some((setting) => setting.startsWith(`model.${key}=`)), `bench variants has no ${key}`);
  }
});

Deno.test("every activation has cases as an op", () => {
  const kinds = opCases.filter(({ op }) => op === "activation").map(({ options }) => options.kind);
  assertEquals(new Set(kinds), new Set<unknown>(namesOf(ACTIVATIONS)));
});

Deno.test("the benchmark's variants are configs", () => {
  for (const overrides of Object.values(VARIANTS)) resolveConfig({ overrides });
});
