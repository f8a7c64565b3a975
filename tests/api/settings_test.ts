import { assertEquals, assertThrows } from "@std/assert";
import { resolveSettings } from "../../src/api/settings.ts";
import { UserError } from "../../src/errors.ts";

Deno.test("resolveSettings() lays settings over a preset, and overrides over both", () => {
  const { config, text } = resolveSettings({
    preset: "default",
    name: "mine",
    seed: 5,
    data: "book.txt",
    model: { numLayers: 2, modelDim: undefined },
    train: { duration: "3 steps", rampUp: { start: 1, increment: 1, samples: 9 } },
    overrides: ["seed=6"],
  });
  assertEquals([config.name, config.seed, config.data, text], ["mine", 6, "book.txt", undefined]);
  assertEquals([config.model.numLayers, config.model.modelDim], [2, 128]);
  assertEquals(config.train.duration, { value: 3, unit: "steps" });
  assertEquals(config.train.rampUp, { start: 1, increment: 1, samples: 9 });
});

Deno.test("resolveSettings() keeps a text apart from the config", () => {
  const { config, text } = resolveSettings({ data: { text: "to be or not to be" } });
  assertEquals([config.data, text], [null, "to be or not to be"]);
  assertEquals(resolveSettings({}).text, undefined);
  assertEquals(resolveSettings({ data: null }).config, config);
});

Deno.test("resolveSettings() says what is wrong with a setting", () => {
  const numLayers = 0;
  assertThrows(
    () => resolveSettings({ model: { numLayers } }),
    UserError,
    "settings: model.numLayers is 0, expected",
  );
  assertThrows(() => resolveSettings({ preset: "defult" }), UserError, "the nearest is default");
  assertThrows(() => resolveSettings({ overrides: ["sed=1"] }), UserError, "the nearest known one is seed");
});
