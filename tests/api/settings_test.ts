import { assertEquals, assertRejects } from "@std/assert";
import { resolveSettings } from "../../src/api/settings.ts";
import { UserError } from "../../src/errors.ts";

Deno.test("resolveSettings() lays settings over a preset, and overrides over both", async () => {
  const { config, text } = await resolveSettings({
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

Deno.test("resolveSettings() keeps a text apart from the config", async () => {
  const { config, text } = await resolveSettings({ data: { text: "to be or not to be" } });
  assertEquals([config.data, text], [null, "to be or not to be"]);
  assertEquals((await resolveSettings({})).text, undefined);
  assertEquals((await resolveSettings({ data: null })).config, config);
});

Deno.test("resolveSettings() says what is wrong with a setting", async () => {
  const numLayers = 0;
  await assertRejects(
    () => resolveSettings({ model: { numLayers } }),
    UserError,
    "settings: model.numLayers is 0, expected",
  );
  await assertRejects(
    () => resolveSettings({ preset: "defult" }),
    UserError,
    "the nearest known one is default",
  );
  await assertRejects(
    () => resolveSettings({ overrides: ["sed=1"] }),
    UserError,
    "the nearest known one is seed",
  );
});
