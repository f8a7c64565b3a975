import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { modelSchema } from "../../src/config/schema.ts";
import { readStudyConfig } from "../../src/formats/study.ts";
import { FIXTURES, readJson } from "./support.ts";

const PLAIN = Object(readJson("study/learned-gelu/config.json"));

Deno.test("readStudyConfig() reads every study model as it stands", () => {
  const names = [...Deno.readDirSync(join(FIXTURES, "study"))].map(({ name }) => name);
  assertEquals(names.length, 10);
  for (const name of names) {
    const json = readJson("study", name, "config.json");
    const { spec, packing } = readStudyConfig(json);
    const { objective, packed, restartPositions, initStd: _, scaledResidualInit: __, ...options } = Object(
      json,
    );
    assertEquals<unknown>({ ...spec, ...options }, spec); // every option is in the model
    assertEquals(spec.architecture, objective === "prefix" ? "nonCausalDecoder" : "causalDecoder");
    assertEquals(packing, { separate: packed, restartPositions });
  }
});

Deno.test("readStudyConfig() does without the keys that only say how the weights were drawn", () => {
  const { initStd: _, scaledResidualInit: __, ...rest } = PLAIN;
  assertEquals(readStudyConfig(rest), readStudyConfig(PLAIN));
});

Deno.test("readStudyConfig() knows every value of the model's axes, and its other options where they are given", () => {
  const { positions, activation, norm } = modelSchema.shape;
  const axes = Object.entries({ positions, activation, norm });
  for (const [axis, value] of axes.flatMap(([axis, { options }]) => options.map((value) => [axis, value]))) {
    assertEquals(Object(readStudyConfig({ ...PLAIN, [axis]: value }).spec)[axis], value);
  }
  const options = { headDim: 20, qkNorm: true, scaleScores: false, scaleOutput: true, logitSoftCap: 5 };
  const { spec } = readStudyConfig({ ...PLAIN, ...options });
  assertEquals({ ...spec, ...options }, spec);
  const { headDim, qkNorm, logitSoftCap } = readStudyConfig(PLAIN).spec;
  assertEquals([headDim, qkNorm, logitSoftCap], [12, false, null]);
});

const REFUSED: [Record<string, unknown>, string][] = [
  [{ expertCount: 8, topK: 2 }, 'asks for "expertCount", "topK", but no such option exists'],
  [{ architecture: "encoderDecoder" }, 'asks for "architecture", but no such option exists'],
  [{ activation: "mish" }, 'activation is "mish", expected one of "gelu"|"geluErf"'],
  [{ logitSoftCap: 0 }, "logitSoftCap is 0, expected number to be >0"],
  [{ positions: "xpos" }, 'positions is "xpos", expected one of "none"|"learned"'],
  [{ norm: undefined }, "norm is missing, expected one of"],
  [{ numLayers: 0 }, "numLayers is 0"],
  [{ zLoss: -1 }, "zLoss is -1, expected number to be >=0"],
  [{ tied: 1 }, "tied is 1, expected boolean"],
  [{ numHeads: 5 }, "config.json: modelDim is 36, expected a multiple of numHeads (5), or headDim"],
  [{ numKvHeads: 2 }, "numHeads is 3, expected a multiple of numKvHeads (2)"],
  [{ window: 4 }, "window is 4, but attention is dense"],
  [{ attention: "banded" }, "window is null, expected the number of keys"],
  [{ objective: "prefix", packed: true }, 'objective is "prefix"'],
  [{ objective: "prefix", attention: "banded", window: 3 }, "attention is banded, but a nonCausalDecoder"],
  [{ restartPositions: true }, "packed is false"],
  [
    { positions: "rotary", rotaryFraction: 0.25 },
    "rotaryFraction is 0.25, which rotates 3 of a head's 12 dimensions",
  ],
];

for (const [change, message] of REFUSED) {
  Deno.test(`readStudyConfig() refuses ${JSON.stringify(change)}`, () => {
    assertThrows(() => readStudyConfig({ ...PLAIN, ...change }), UserError, message);
  });
}
