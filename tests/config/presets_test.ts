import { assert, assertEquals, assertLessOrEqual, assertMatch } from "@std/assert";
import { basename } from "@std/path";
import { deriveRun } from "../../src/config/derive.ts";
import { deriveModel } from "../../src/config/deriveModel.ts";
import { differences } from "../../src/config/format.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { PRESETS, presetSummary } from "../../src/config/presets.ts";
import { checkObjective } from "../../src/data/objectives/check.ts";
import { countParameters } from "../../src/model/parameters.ts";

const names = Object.keys(PRESETS);

function specOf(preset: string, ...overrides: string[]) {
  return deriveModel(resolveConfig({ preset, overrides }).model, 97);
}

function count(preset: string, ...overrides: string[]): number {
  return countParameters(specOf(preset, ...overrides));
}

/** The count of a GPT with learned positions and biases, as Megatron-LM states it. */
function gptCount({ L, h, V = 50257, s = 2048 }: { L: number; h: number; V?: number; s?: number }): number {
  return L * (12 * h ** 2 + 13 * h) + V * h + s * h + 2 * h;
}

Deno.test("PRESETS has every file of presets/", () => {
  const files = [...Deno.readDirSync(new URL("../../presets", import.meta.url))];
  assertEquals(files.map(({ name }) => basename(name, ".jsonc")).sort(), names.toSorted());
});

Deno.test("presetSummary() says in a short sentence what each preset is", () => {
  const summaries = Object.values(PRESETS).map(presetSummary);
  assertEquals(new Set(summaries).size, names.length);
  for (const summary of summaries) {
    assertMatch(summary, /^[A-Za-z].*[^.]$/);
    assertLessOrEqual(summary.length, 105);
  }
});

Deno.test("presets have the parameters that are published", () => {
  assertEquals(count("gpt3-1.3b"), 1_315_723_264);
  assertEquals(count("gpt3-1.3b", "model.vocabSize=50304"), 1_315_819_520);
  assertEquals(count("bloom-176b"), 176_247_271_424);
  assertEquals(count("encoder-decoder-11b"), 11_003_736_064);
  const tables = 23 * 32 * 64; // theirs has relative positions for each layer, ours for all together
  for (const decoder of ["causal-decoder-4.8b", "noncausal-decoder-4.8b"]) {
    assertEquals(count(decoder), 4_762_357_760 - tables, decoder);
  }
});

Deno.test("presets of the baseline's size and below have the parameters of Megatron's formula", () => {
  const sizes = {
    "gpt3-125m": { L: 12, h: 768 },
    "gpt3-350m": { L: 24, h: 1024 },
    "gpt3-760m": { L: 24, h: 1536 },
    "gpt3-1.3b": { L: 24, h: 2048 },
  };
  for (const [preset, size] of Object.entries(sizes)) assertEquals(count(preset), gptCount(size), preset);

  const [L, h, s] = [24, 2048, 2048];
  const baseline = gptCount({ L, h });
  for (const positions of ["no-positions", "rotary", "alibi"]) {
    assertEquals(count(`gpt3-1.3b-${positions}`), baseline - s * h, positions);
  }
  assertEquals(count("gpt3-1.3b-embedding-norm"), baseline + 2 * h);
  const gelu = 2 * 4 * h * h + 4 * h; // both matrices, the first's biases
  const swiglu = 3 * 5456 * h + 2 * 5456;
  assertEquals(count("gpt3-1.3b-swiglu"), baseline + L * (swiglu - gelu));
  assertLessOrEqual(Math.abs(count("gpt3-1.3b-swiglu") / baseline - 1), 1e-3);
});

Deno.test("every preset fits together, with a table that holds its ids", () => {
  for (const preset of names) {
    const config = resolveConfig({ preset });
    const vocabulary = { vocabSize: config.bpeVocabSize, endOfText: null };
    checkObjective(config.model, config.objective, config.packing, vocabulary);
    assert(countParameters(deriveModel(config.model, vocabulary.vocabSize)) > 0);
    assert(deriveRun(config).totalSteps > 0);
  }
});

Deno.test("the study's variants differ from its baseline in the axis that they are named for", () => {
  const baseline = resolveConfig({ preset: "gpt3-1.3b" });
  const variants = {
    "no-positions": ['model.positions: "learned" -> "none"'],
    "rotary": ['model.positions: "learned" -> "rotary"'],
    "alibi": ['model.positions: "learned" -> "alibi"'],
    "swiglu": ['model.ffnDim: "equal-parameters" -> 5456', 'model.activation: "gelu" -> "swiglu"'],
    "embedding-norm": ["model.embeddingNorm: false -> true"],
  };
  for (const [variant, expected] of Object.entries(variants)) {
    const name = `gpt3-1.3b-${variant}`;
    const found = differences(baseline, resolveConfig({ preset: name }));
    assertEquals(found, [`name: "gpt3-1.3b" -> "${name}"`, ...expected]);
  }
  const causal = resolveConfig({ preset: "causal-decoder-4.8b" });
  assertEquals(differences(causal, resolveConfig({ preset: "noncausal-decoder-4.8b" })).slice(1), [
    'model.architecture: "causalDecoder" -> "nonCausalDecoder"',
    'objective.kind: "causal" -> "prefix"',
  ]);
});

Deno.test("presets have the schedules of the runs' scripts", () => {
  const rates = names.map((preset) => {
    const { learningRate, minLearningRate } = resolveConfig({ preset }).optimizer;
    return [preset, [learningRate, minLearningRate]] as const;
  });
  const rate = new Map(rates);
  assertEquals(rate.get("gpt3-125m"), [6e-4, 1e-5]);
  assertEquals(rate.get("gpt3-350m"), [3e-4, 1e-5]);
  assertEquals(rate.get("gpt3-760m"), [2.5e-4, 1e-5]);
  assertEquals(rate.get("gpt3-1.3b"), [2e-4, 1e-5]);
  assertEquals(rate.get("bloom-176b"), [6e-5, 6e-6]);

  const bloom = deriveRun(resolveConfig({ preset: "bloom-176b" }));
  assertEquals(bloom.batchAt(1).batchSize, 192);
  assertEquals(bloom.batchAt(bloom.totalSteps).batchSize, 2048);
  assertEquals(bloom.optimizer.decay, { from: 183_105, to: 200e6, unit: "samples" });
  assertLessOrEqual(Math.abs(specOf("bloom-176b").initStd - 0.0048), 5e-5);
  const adam = { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 } as const;
  assertEquals(bloom.update, adam);
  assertEquals(deriveRun(resolveConfig({ preset: "gpt3-1.3b" })).update, { ...adam, beta2: 0.999 });
  const followUp = deriveRun(resolveConfig({ preset: "causal-decoder-4.8b" }));
  assertEquals(followUp.totalTokens, 131_072 * 2048 * 626); // 168B
  const t5x = {
    kind: "adafactor",
    beta1: 0,
    beta2: null,
    eps: 1e-30,
    weightDecay: 0,
    scaleParameter: true,
  } as const;
  assertEquals(followUp.update, t5x);
});
