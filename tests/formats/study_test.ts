import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { UserError } from "../../src/errors.ts";
import { readStudyConfig } from "../../src/formats/study.ts";
import { FIXTURES, readJson } from "./support.ts";

const PLAIN = Object(readJson("study/learned-gelu/config.json"));

Deno.test("readStudyConfig() reads every study model as it stands", () => {
  const names = [...Deno.readDirSync(join(FIXTURES, "study"))].map(({ name }) => name);
  assertEquals(names.length, 10);
  for (const name of names) {
    const json = readJson("study", name, "config.json");
    assertEquals<unknown>(readStudyConfig(json), json);
  }
});

Deno.test("readStudyConfig() does without the keys that only say how the weights were drawn", () => {
  const { initStd: _, scaledResidualInit: __, ...rest } = PLAIN;
  assertEquals<unknown>(readStudyConfig(rest), rest);
});

const REFUSED: [Record<string, unknown>, string][] = [
  [{ expertCount: 8 }, 'unknown key "expertCount"'],
  [{ positions: "xpos" }, 'positions is "xpos", expected one of "none"|"learned"'],
  [{ norm: undefined }, "norm is missing, expected one of"],
  [{ numLayers: 0 }, "numLayers is 0"],
  [{ zLoss: -1 }, "zLoss is -1, expected number to be >=0"],
  [{ tied: 1 }, "tied is 1, expected boolean"],
  [{ numHeads: 5 }, "modelDim 36 is no multiple of numHeads 5"],
  [{ numKvHeads: 2 }, "numHeads 3 is no multiple of numKvHeads 2"],
  [{ window: 4 }, 'attention is "dense" and window is 4'],
  [{ attention: "banded" }, 'attention is "banded" and window is null'],
  [{ objective: "prefix", packed: true }, 'objective is "prefix"'],
  [{ objective: "prefix", attention: "banded", window: 3 }, 'objective is "prefix"'],
  [{ restartPositions: true }, "packed is false"],
  [{ positions: "rotary", rotaryFraction: 0.25 }, "rotates 3 dimensions"],
];

for (const [change, message] of REFUSED) {
  Deno.test(`readStudyConfig() refuses ${JSON.stringify(change)}`, () => {
    assertThrows(() => readStudyConfig({ ...PLAIN, ...change }), UserError, message);
  });
}
