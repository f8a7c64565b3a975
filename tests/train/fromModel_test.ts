import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { resolveConfig } from "../../src/config/load.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { UserError } from "../../src/errors.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { modelSettings, readSourceModel, settleModel, tokenizerFor } from "../../src/train/fromModel.ts";
import { tinyConfig, tinyDataset, tinyRun, withFolder } from "./tinyRun.ts";

const LLAMA = new URL("../fixtures/hf/llama", import.meta.url).pathname; // 97 ids, no tokenizer.json
const T5 = new URL("../fixtures/hf/t5_v1_1", import.meta.url).pathname;

/** The config that a line means. */
async function settled(from: string, ...overrides: string[]) {
  const source = await readSourceModel(from, null);
  const all = [`from=${from}`, "tokenizer=chars", ...overrides];
  return settleModel(resolveConfig({ weights: modelSettings(source), overrides: all }), source);
}

Deno.test("settleModel() takes the weights' vocabulary, and as many rows more as the objective needs", async () => {
  await withFolder(async (run) => {
    const { tokenizer: { vocabSize } } = await tinyDataset(tinyConfig());
    await tinyRun(run, tinyConfig());
    const rows = async (...overrides: string[]) => (await settled(run, ...overrides)).model.vocabSize;
    assertEquals(await rows(), vocabSize);
    assertEquals(await rows("preset=bloom-176b"), vocabSize); // not the preset's
    assertEquals(await rows("objective.kind=prefix", "model.architecture=nonCausalDecoder"), vocabSize);
    const span = "objective.kind=span";
    assertEquals(await rows(span), vocabSize + 3); // the end, and 2 sentinels
    assertEquals(await rows(span, "model.architecture=nonCausalDecoder"), vocabSize + 3);
    assertEquals(await rows(span, "model.vocabSize=40"), 40);
  });
});

Deno.test("settleModel() refuses to make an encoder of decoders, and decoders of an encoder", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig("train.duration=1 steps"));
    await assertRejects(
      () => settled(run, "model.architecture=encoderDecoder", "objective.kind=span"),
      UserError,
      "those of a causalDecoder, expected causalDecoder or nonCausalDecoder",
    );
  });
  await assertRejects(
    () => settled(T5, "model.architecture=causalDecoder", "tokenizer=bytes"),
    UserError,
    "those of an encoderDecoder, expected encoderDecoder",
  );
});

Deno.test("tokenizerFor() takes no new tokenizer for old weights, unless its ids are bytes", async () => {
  const source = await readSourceModel(LLAMA, null);
  for (const kind of ["chars", "bpe"] as const) {
    assertThrows(() => tokenizerFor(source, kind), UserError, "has no tokenizer.json");
  }
  assertThrows(
    () => tokenizerFor(source, "bytes"),
    UserError,
    "know 97 ids, but the tokenizer (bytes) has 256",
  );
  const large = { ...source, spec: { ...source.spec, vocabSize: 256 } };
  assertEquals(tokenizerFor(large, "bytes").kind, "bytes");
  const own = { ...large, tokenizer: bytesTokenizer() };
  assertEquals(tokenizerFor(own, "bpe"), own.tokenizer);
});

Deno.test("from: a longer table of tokens begins with the weights', a shorter one of positions is their beginning", async () => {
  await withFolder(async (folder) => {
    const [source, run] = [join(folder, "source"), join(folder, "run")];
    await tinyRun(source, tinyConfig("model.tied=false", "model.dropout=0.1"));
    const { tokenizer } = await tinyDataset(tinyConfig());
    const rows = tokenizer.vocabSize + 2;
    const start = async (run: string, ...overrides: string[]) => {
      const config = tinyConfig(
        `from=${source}`,
        `model.vocabSize=${rows}`,
        "model.tied=false",
        "train.nonFinite=rollback", // which saves the start
        ...overrides,
      );
      const stop = new AbortController();
      const messages: string[] = [];
      const training = tinyRun(run, config, {
        signal: stop.signal,
        onAccumulate: () => stop.abort(),
        onMessage: (text) => messages.push(text),
      });
      const error = await training.catch((error) => error);
      if (error !== stop.signal.reason) throw error;
      return { messages, file: join(run, "checkpoints", "step-0", "model.safetensors") };
    };
    const { messages, file } = await start(run, "model.seqLen=3");
    assertEquals(messages.slice(1), [
      `The table of tokens grows from ${tokenizer.vocabSize} to ${rows} rows: the first are the weights', ` +
      "new ones have initial values",
      "Of 5 learned positions the first 3 are taken",
      "How to train is not taken over with weights: model.dropout is 0, the weights' config.json says 0.1",
    ]);
    using before = openSafetensors(join(source, "checkpoints", "step-7", "model.safetensors"));
    using after = openSafetensors(file);
    assertEquals([...after.tensors.keys()], [...before.tensors.keys()]);
    for (const name of before.tensors.keys()) {
      const [old, now] = [before.read(name), after.read(name)];
      const common = Math.min(old.length, now.length);
      assertEquals(now.subarray(0, common), old.subarray(0, common), name);
      assertEquals(now.length - old.length, { wte: 8, "lm_head": 8, wpe: -8 }[name.split(".").at(-2)!] ?? 0);
      const drawn = now.subarray(common);
      assert(drawn.every((value) => value !== 0 && Math.abs(value) < 2), name);
    }
    const again = await start(join(folder, "again"), "model.seqLen=3");
    assertEquals(Deno.readFileSync(again.file), Deno.readFileSync(file));
    const other = await start(join(folder, "other"), "seed=9");
    using drawnAnew = openSafetensors(other.file);
    const embedding = "transformer.wte.weight";
    assert(drawnAnew.read(embedding).at(-1) !== after.read(embedding).at(-1));
    await assertRejects(
      () => start(join(folder, "less"), `model.vocabSize=${rows - 3}`),
      UserError,
      `model.vocabSize is ${rows - 3}, expected at least`,
    );
  });
});
