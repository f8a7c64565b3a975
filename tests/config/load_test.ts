import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { differences, formatConfig } from "../../src/config/format.ts";
import { type ConfigSource, readConfigFile, resolveConfig } from "../../src/config/load.ts";
import { PRESETS } from "../../src/config/presets.ts";
import { UserError } from "../../src/errors.ts";

const presets = {
  ...PRESETS,
  "tiny-gpt": '{ "model": { "numLayers": 1, "modelDim": 8 }, /* no heads: the default */ "seed": 7 }',
  titled: '{ "name": "the-title", }',
  wider: '{ "preset": "tiny-gpt", "model": { "modelDim": 16 } }',
  lost: '{ "preset": "tiny-gtp" }',
};

function resolve(...overrides: string[]) {
  return resolveConfig({ overrides }, presets);
}

function file(text: string, path = "studies/my run.jsonc"): ConfigSource {
  return { file: { path, text } };
}

function assertRefused(source: ConfigSource, message: string) {
  const error = assertThrows(() => resolveConfig(source, presets), UserError);
  assertEquals(error.message, message);
}

Deno.test("resolveConfig() without arguments gives the default preset", () => {
  const config = resolve();
  assertEquals(config.name, "default");
  assertEquals(config.model.numLayers, 4);
  assertEquals(config.train.duration, { value: 300, unit: "steps" });
});

Deno.test("resolveConfig() reads every preset", () => {
  for (const preset of Object.keys(PRESETS)) resolveConfig({ preset });
});

Deno.test("resolveConfig() lays preset, file and overrides over one another, key by key", () => {
  const text = '{ "preset": "tiny-gpt", "model": { "modelDim": 12 }, "train": { "batchSize": 3 } } // done';
  const config = resolveConfig(
    { ...file(text), overrides: ["train.batchSize=5", "model.numHeads=2"] },
    presets,
  );
  assertEquals(config.seed, 7);
  assertEquals([config.model.numLayers, config.model.modelDim, config.model.numHeads], [1, 12, 2]);
  assertEquals(config.train.batchSize, 5);
  assertEquals(config.model.seqLen, 128);
});

Deno.test("resolveConfig() lays a preset over the one that it starts from, down to the default", () => {
  const config = resolve("preset=wider", "train.batchSize=5");
  assertEquals([config.model.numLayers, config.model.modelDim, config.model.seqLen], [1, 16, 128]);
  assertEquals([config.name, config.seed, config.train.batchSize], ["wider", 7, 5]);
  assertEquals(resolveConfig(file('{ "preset": "wider", "seed": 8 }'), presets).model, config.model);
  assertRefused(
    { preset: "lost" },
    'preset lost: no preset is called "tiny-gtp", the nearest known one is tiny-gpt',
  );
});

Deno.test("resolveConfig() takes the preset of the command line before the caller's and the file's", () => {
  const source = { preset: "titled", ...file('{ "preset": "nonesuch", "name": "n" }') };
  assertEquals(resolveConfig({ ...source, overrides: ["preset=tiny-gpt"] }, presets).seed, 7);
  assertEquals(resolveConfig({ ...source, overrides: ["preset=null"] }, presets).seed, 1337);
  assertEquals(resolveConfig(source, presets).seed, 1337);
});

Deno.test("resolveConfig() takes a program's settings, in which undefined is not given", () => {
  const model = { modelDim: 12, numHeads: undefined };
  const config = resolveConfig({
    settings: { preset: "tiny-gpt", seed: undefined, model },
    overrides: ["name=x"],
  }, presets);
  assertEquals([config.seed, config.model.modelDim, config.name], [7, 12, "x"]);
  assertEquals(config.model.numHeads, resolve("preset=tiny-gpt").model.numHeads);
  assertEquals(resolveConfig({ settings: { preset: undefined } }, presets), resolve());
  assertRefused(
    { settings: { model: { numLayer: 2 } } },
    "settings: unknown key model.numLayer, the nearest known one is model.numLayers",
  );
});

Deno.test("resolveConfig() names a run after its file or preset unless a name is given", () => {
  assertEquals(resolve("preset=tiny-gpt").name, "tiny-gpt");
  assertEquals(resolve("preset=titled").name, "the-title");
  assertEquals(resolveConfig(file('{ "preset": "titled" }'), presets).name, "my-run");
  assertEquals(resolveConfig(file('{ "name": "x" }'), presets).name, "x");
  assertEquals(resolveConfig({ ...file("{}"), overrides: ["name=2024"] }, presets).name, "2024");
});

Deno.test("resolveConfig() reads override values as JSON or as text, and null clears", () => {
  const text = '{ "data": "a", "train": { "rampUp": { "start": 2, "increment": 2, "samples": 9 } } }';
  const config = resolveConfig({ ...file(text), overrides: ["train.rampUp.start=4", "data=./a=b"] }, presets);
  assertEquals(config.train.rampUp, { start: 4, increment: 2, samples: 9 });
  assertEquals(config.data, "./a=b");
  assertEquals(
    resolveConfig({ ...file(text), overrides: ["train.rampUp=null"] }, presets).train.rampUp,
    null,
  );
  assertEquals(resolve('train.rampUp={"start":1,"increment":1,"samples":1}').train.rampUp?.samples, 1);
  assertEquals(resolve("train.duration=2e6 tokens").train.duration, { value: 2e6, unit: "tokens" });
  assertEquals(resolve("train.duration=7").train.duration, { value: 7, unit: "steps" });
  assertEquals(resolve("log.samplePrompt=true").log.samplePrompt, "true");
});

Deno.test("resolveConfig() names the nearest key for an unknown one, and where it is", () => {
  assertRefused(
    file('{ "model": { "numLayer": 6 } }', "a.jsonc"),
    "a.jsonc: unknown key model.numLayer, the nearest known one is model.numLayers",
  );
  assertRefused(
    { overrides: ["batchsize=6"] },
    "command line: unknown key batchsize, the nearest known one is train.batchSize",
  );
  assertRefused(
    { overrides: ["trian.batchSize=6"] },
    "command line: unknown key trian, the nearest known one is train",
  );
  assertRefused(
    { overrides: ["every=6"] },
    "command line: unknown key every, the nearest known one is log.every",
  );
  const nearestTo = {
    "model.NUMLAYERS": "numLayers",
    "model.num_layers": "numLayers",
    "model.heads": "numHeads",
  };
  for (const [key, near] of Object.entries(nearestTo)) {
    assertRefused(
      { overrides: [`${key}=6`] },
      `command line: unknown key ${key}, the nearest known one is model.${near}`,
    );
  }
  for (const key of ["lr", "x"]) {
    assertRefused(
      { overrides: [`${key}=6`] },
      `command line: unknown key ${key}, presets/default.jsonc has every key`,
    );
  }
  assertRefused(
    { overrides: ["packing.foo=6"] },
    "command line: unknown key packing.foo, packing has separate, restartPositions",
  );
  assertRefused(
    { overrides: ['train.rampUp={"start":1,"increment":1,"samples":1,"foo":6}'] },
    "command line: unknown key train.rampUp.foo, train.rampUp has start, increment, samples",
  );
  for (const text of ['{ "__proto__": { "seed": 1 } }', '{ "model": { "preset": "tiny-gpt" } }']) {
    assertThrows(() => resolveConfig(file(text), presets), UserError, "unknown key ");
  }
});

Deno.test("resolveConfig() says what it found and what it expected", () => {
  const cases = [
    ["model.numLayers=six", 'model.numLayers is "six", expected a whole number above 0'],
    ["model.numLayers=0", "model.numLayers is 0, expected a whole number above 0"],
    ["model.numKvHeads=1.5", "model.numKvHeads is 1.5, expected a whole number above 0 or null"],
    ["model.dropout=1", "model.dropout is 1, expected a number at least 0 and below 1"],
    ["model.bias=yes", 'model.bias is "yes", expected true or false'],
    ["model.norm=batch", 'model.norm is "batch", expected one of "layernorm", "rmsnorm"'],
    [
      "model.norm=LayerNorm",
      'model.norm is "LayerNorm", expected one of "layernorm", "rmsnorm"; the nearest is "layernorm"',
    ],
    [
      "model.ffnDim=equal",
      'model.ffnDim is "equal", expected a whole number above 0 or "equal-parameters"; the nearest is "equal-parameters"',
    ],
    ["model=6", "model is 6, expected an object { ... }"],
    ["name=a b", 'name is "a b", expected letters, digits, dots, dashes'],
    ["data=[1]", "data is [1], expected text that is not empty or null"],
    ["train.duration=null", 'train.duration is null, expected an amount such as "300 steps"'],
    ["checkpoint.every={}", 'checkpoint.every is {}, expected an amount such as "300 steps" or null'],
    [
      "train.duration=10m",
      'train.duration is "10m", expected a number of steps, samples or tokens such as "300 steps" or "2e9 tokens"',
    ],
    [
      "train.rampUp.start=4",
      "train.rampUp.increment is missing, expected a whole number above 0, and 1 more",
    ],
  ];
  for (const [override, message] of cases) {
    assertRefused({ overrides: [override] }, `command line: ${message}`);
  }
});

Deno.test("resolveConfig() counts the mistakes after the first and blames the layer that made each", () => {
  const text = '{ "model": { "bias": 1 }, "seed": -1 }';
  assertRefused(
    { ...file(text, "a.jsonc"), overrides: ["model.numLayers=0"] },
    "a.jsonc: seed is -1, expected a whole number at least 0 and at most 4294967295, and 2 more",
  );
  assertRefused(
    { ...file(text, "a.jsonc"), overrides: ["seed=-2"] },
    "command line: seed is -2, expected a whole number at least 0 and at most 4294967295, and 1 more",
  );
});

Deno.test("resolveConfig() gives the line of a syntax error", () => {
  assertRefused(
    file('{\n  "seed": 1\n  "name": "x"\n}', "a.jsonc"),
    'a.jsonc:3: found \\"name\\", expected JSON with comments; look for a missing comma or quote',
  );
  assertRefused(
    file('{\n  "seed": 1,\n\n', "a.jsonc"),
    "a.jsonc:2: the text ends too early, expected more JSON",
  );
  assertRefused(file("[1]", "a.jsonc"), "a.jsonc holds [1], expected an object { ... }");
});

Deno.test("resolveConfig() refuses overrides and presets that it cannot understand", () => {
  assertRefused(
    { overrides: ["my.json"] },
    "command line: found my.json, expected key=value such as model.numLayers=6",
  );
  assertRefused(
    { overrides: ["=1"] },
    "command line: found =1, expected key=value such as model.numLayers=6",
  );
  assertRefused(
    { overrides: ["preset=tiny-gtp"] },
    'command line: no preset is called "tiny-gtp", the nearest known one is tiny-gpt',
  );
  assertRefused(
    { overrides: ["preset=bert"] },
    `command line: no preset is called "bert", expected one of ${Object.keys(presets).join(", ")}`,
  );
  assertRefused(
    file('{ "preset": 3 }', "a.jsonc"),
    `a.jsonc: no preset is called 3, expected one of ${Object.keys(presets).join(", ")}`,
  );
});

Deno.test("resolveConfig() reads a file that begins with a byte order mark", () => {
  assertEquals(resolveConfig(file('\uFEFF{ "seed": 3 }'), presets).seed, 3);
});

Deno.test("readConfigFile() reads a config, and says what else a path could be for", async () => {
  const path = await Deno.makeTempFile({ suffix: ".jsonc" });
  try {
    await Deno.writeTextFile(path, '{ "seed": 3 }');
    assertEquals(resolveConfig({ file: await readConfigFile(path), overrides: ["name=x"] }).seed, 3);
  } finally {
    await Deno.remove(path);
  }
  await assertRejects(() => readConfigFile(path), UserError, `No config file ${path}: `);
  for (const other of ["book.txt", "src", "tests/"]) {
    await assertRejects(() => readConfigFile(other), UserError, `key=value: data=${other} trains on it`);
  }
});

Deno.test("formatConfig() is read back to the same config", () => {
  const config = resolve(
    "train.duration=2.5e9 tokens",
    "data=a b",
    'train.rampUp={"start":1,"increment":3,"samples":5}',
  );
  const text = formatConfig(config);
  assertEquals(resolveConfig(file(text)), config);
  assertEquals(JSON.parse(text).checkpoint.every, "2 m");
});

Deno.test("differences() lists the keys that differ with both values", () => {
  const before = resolve();
  const after = resolve(
    "model.numLayers=6",
    "train.duration=1e6 tokens",
    'train.rampUp={"start":1,"increment":3,"samples":5}',
    "data=x",
  );
  assertEquals(differences(before, resolve()), []);
  assertEquals(differences(before, after), [
    'data: null -> "x"',
    "model.numLayers: 4 -> 6",
    "train.duration: 300 steps -> 1000000 tokens",
    'train.rampUp: null -> {"start":1,"increment":3,"samples":5}',
  ]);
});
