import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { coordinate, importToken, loadModel, plan, type RunSettings, train, UserError } from "../../mod.ts";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import { t5 } from "../../src/formats/hf/t5.ts";
import { formatHfConfig } from "../../src/formats/hf/write.ts";
import { encodeSafetensors } from "../../src/formats/safetensors.ts";
import { normals, Stream } from "../../src/random.ts";
import { testGpu } from "../_gpu.ts";
import { specOf } from "../formats/hf/support.ts";
import { withFolder } from "../train/tinyRun.ts";
import { TINY } from "./support.ts";

const TOKENIZER = new URL("../fixtures/tokenizers/t5/tokenizer.json", import.meta.url);
/** <extra_id_0> is token 1205, the one before it <extra_id_1>. */
const T5_TOKENS = 1206;

/** All that a run says beside where its weights are from. */
const { data, train: { duration: _, ...batches } = {}, optimizer, log, engine } = TINY;
const TUNED: RunSettings = { data, train: { ...batches, duration: "1 steps" }, optimizer, log, engine };

/** Trains for a step, from weights and a line of overrides. */
async function tune(folder: string, from: string, ...overrides: string[]) {
  const messages: string[] = [];
  const { device } = await testGpu();
  const result = await train({ ...TUNED, from, overrides }, {
    folder,
    device,
    onMessage: (text) => messages.push(text),
  });
  return { ...result, messages };
}

const configOf = (run: string) =>
  JSON.parse(Deno.readTextFileSync(join(run, "checkpoints", "step-1", "config.json")));

/** A folder as Hugging Face has T5: its own tokens, a longer table. */
async function makeT5(folder: string): Promise<void> {
  const spec: ModelSpec = {
    ...specOf("t5"),
    ...{ numLayers: 1, numEncoderLayers: 1, modelDim: 8, numHeads: 2, headDim: 4, ffnDim: 8, seqLen: 12 },
    vocabSize: T5_TOKENS + 10,
    dropout: 0.1,
    attentionDropout: 0.1,
  };
  const tensors = t5.tensors(spec).flatMap(({ pieces }) => pieces).map(({ name, shape }, i) => ({
    ...{ name, shape, dtype: "F32" as const },
    values: () => Promise.resolve(normals(shape.reduce((a, b) => a * b, 1), 0.1, 1, Stream.test, i)),
  }));
  const tokens = { bos_token_id: null, eos_token_id: 1, pad_token_id: 0, decoder_start_token_id: 0 };
  Deno.mkdirSync(folder);
  Deno.writeFileSync(join(folder, "model.safetensors"), await encodeSafetensors(tensors));
  Deno.writeTextFileSync(join(folder, "config.json"), formatHfConfig(t5, spec, tokens, "F32"));
  Deno.copyFileSync(TOKENIZER, join(folder, "tokenizer.json"));
}

Deno.test("train() goes on with a causal decoder's weights and another objective, a line each", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source");
    const { device } = await testGpu();
    await train({ ...TINY, tokenizer: "bytes", train: { ...TINY.train, duration: "1 steps" } }, {
      folder: source,
      device,
    });
    const lines: [string, string[], number][] = [
      ["prefix", ["objective.kind=prefix", "model.architecture=nonCausalDecoder"], 256],
      ["span", ["objective.kind=span"], 259],
      ["spanBoth", ["objective.kind=span", "model.architecture=nonCausalDecoder"], 259],
    ];
    for (const [name, line, vocabSize] of lines) {
      const run = join(folder, name);
      assertEquals((await plan({ ...TUNED, from: source, overrides: line })).totalSteps, 1);
      const { steps, messages, dataset } = await tune(run, source, ...line);
      assertEquals([steps, dataset.vocabSize], [1, vocabSize]);
      assertEquals(messages.some((text) => text.includes("grows from 256 to 259")), vocabSize > 256);
      assertEquals(configOf(run).vocab_size ?? configOf(run).vocabSize, vocabSize);
      // it goes on where it was, and is a source in its turn
      assertEquals((await tune(run, source, ...line, "train.duration=2 steps")).steps, 2);
      await using model = await loadModel(run, { device });
      assert((await model.evaluate()).tokens > 0);
    }
    const spans = join(folder, "spans");
    assertEquals((await tune(spans, join(folder, "span"), "objective.kind=span")).dataset.vocabSize, 259);
    await assertRejects(
      () => tune(join(folder, "no"), source, "objective.kind=span", "model.vocabSize=256"),
      UserError,
      "model.vocabSize is 256, expected at least 259",
    );
    await assertRejects(
      () => tune(join(folder, "no"), source, "model.vocabSize=255"),
      UserError,
      "model.vocabSize is 255, expected at least 256",
    );
    await assertRejects(
      () => tune(join(folder, "no"), source, "model.architecture=encoderDecoder"),
      UserError,
      "expected causalDecoder or nonCausalDecoder",
    );
  });
});

Deno.test("train() goes on where the model is gone that the run began with", async () => {
  await withFolder(async (folder) => {
    const [source, run, whole] = ["t5", "run", "whole"].map((name) => join(folder, name));
    await makeT5(source);
    const line = ["objective.kind=span", "model.dropout=0.1", "optimizer.schedule=constant"];
    const { digest } = await tune(whole, source, ...line, "train.duration=3 steps");
    await tune(run, source, ...line);
    Deno.renameSync(source, join(folder, "elsewhere"));
    const more = [...line, "train.duration=3 steps"];
    const planned = await plan({ ...TUNED, from: source, overrides: more }, { folder: run });
    assertEquals(planned.totalSteps, 3);
    // the newest checkpoint is damaged all over: the run's folder tells enough
    await tune(run, source, ...line, "train.duration=2 steps");
    const newest = join(run, "checkpoints", "step-2");
    for (const { name } of Deno.readDirSync(newest)) Deno.writeTextFileSync(join(newest, name), "x");
    assertEquals((await tune(run, source, ...more)).digest, digest);
    // another model is another run, there or not
    await assertRejects(
      () => tune(run, join(folder, "elsewhere"), ...more),
      UserError,
      "belongs to another config (from: ",
    );
    const nowhere = join(folder, "new");
    await assertRejects(
      () => tune(nowhere, source, ...line),
      UserError,
      `"${source}" is not there; name a run`,
    );
    // a node without a folder would have nothing of it
    const group = { url: "ws://127.0.0.1:1", token: await importToken("a token of these tests") };
    await assertRejects(
      () => train({ ...TUNED, from: source, overrides: more }, { join: group }),
      UserError,
      "(from=...), on this machine, too: a node that keeps no run folder reads its config.json and tokenizer.json each",
    );
  });
});

Deno.test("train() in a group: who lacks the weights that the run starts from copies the first state", async () => {
  await withFolder(async (folder) => {
    const [source, bare] = ["source", "bare"].map((name) => join(folder, name));
    const { device } = await testGpu();
    await train({ ...TINY, train: { ...TINY.train, duration: "1 steps" } }, { folder: source, device });
    Deno.mkdirSync(bare);
    for (const name of ["config.json", "tokenizer.json"]) {
      Deno.copyFileSync(join(source, "checkpoints", "step-1", name), join(bare, name));
    }
    const overrides = ["train.duration=3 steps", "scale.virtualWorkers=2"];
    const alone = await tune(join(folder, "alone"), source, ...overrides);
    await assertRejects(
      () => tune(join(folder, "none"), bare, ...overrides),
      UserError,
      "has neither model.safeten",
    );
    const token = await importToken("a token of these tests");
    const stop = new AbortController();
    const coordinator = await coordinate({
      ...{ folder: join(folder, "group"), token, heartbeatMs: 200, signal: stop.signal },
    });
    try {
      const isWaiting = Promise.withResolvers<void>();
      const part = (from: string, memberId: string, run: string | null) =>
        train({ ...TUNED, from, overrides }, {
          folder: run,
          join: { url: coordinator.url, token, memberId },
          onMessage: (text) =>
            text.includes("has a state of the run: bare can only copy") && isWaiting.resolve(),
        });
      const second = part(bare, "bare", null);
      await Promise.race([isWaiting.promise, second]);
      const results = await Promise.all([part(source, "first", join(folder, "run")), second]);
      for (const { digest } of results) assertEquals(digest, alone.digest);
    } finally {
      stop.abort();
      await coordinator.ended;
    }
  });
});

Deno.test("train() goes on with T5's own tokens: what starts, ends and marks", async () => {
  await withFolder(async (folder) => {
    const [source, run, spans] = ["t5", "run", "spans"].map((name) => join(folder, name));
    await makeT5(source);
    const prefix = await tune(run, source, "objective.kind=prefix");
    assertEquals(prefix.messages.slice(1), [
      "How to train is not taken over with weights: model.dropout is 0, the weights' config.json says 0.1; " +
      "model.attentionDropout is 0, the weights' config.json says 0.1",
    ]);
    const { inputs, columns } = prefix.dataset.batch(0, 2);
    assertEquals([inputs[0], inputs[columns]], [0, 0]);
    const ids = (run: string) => {
      const { model_type, vocab_size, bos_token_id, eos_token_id, pad_token_id, decoder_start_token_id } =
        configOf(run);
      return [model_type, vocab_size, bos_token_id, eos_token_id, pad_token_id, decoder_start_token_id];
    };
    const expected = ["t5", T5_TOKENS + 10, null, 1, 0, 0];
    assertEquals(ids(run), expected);
    const { device } = await testGpu();
    await using trained = await loadModel(run, { device });
    const { loss, bytes } = await trained.evaluate(); // what was held out
    assertEquals(loss, prefix.validation!.loss);

    // and from there on, with spans: in T5's own table
    const { dataset, validation, messages } = await tune(spans, run, "objective.kind=span");
    assertEquals([ids(spans), messages.length], [expected, 1]);
    const batch = dataset.batch(0, 1);
    assertEquals([...batch.inputs.subarray(0, 2)], [0, 1205]);
    const read = batch.source!.inputs.subarray(0, batch.source!.spans![1]); // (tokens that are read)
    assertEquals([read.includes(1205), read.at(-1)], [true, 1]);
    await using model = await loadModel(spans, { device });
    const heldOut = await model.evaluate();
    assertEquals(heldOut.loss, validation!.loss);
    assert(heldOut.bytes! < bytes!, "of spans alone, and sentinels have no bytes");
    const written = await Array.fromAsync(model.generateTokens([5, 6, 7], { maxTokens: 30, temperature: 1 }));
    assert(written.every((id) => id < 1200), "a sentinel is no text");

    // another model's tokens are other data
    const path = join(source, "config.json");
    const config = JSON.parse(Deno.readTextFileSync(path));
    Deno.writeTextFileSync(path, JSON.stringify({ ...config, decoder_start_token_id: 5 }));
    const other = await tune(join(folder, "other"), source, "objective.kind=prefix");
    assert(other.dataset.hash !== prefix.dataset.hash);
    // which are nothing to a run that has its own by now
    const again = await tune(run, source, "objective.kind=prefix");
    assertEquals([again.steps, again.dataset.hash], [1, prefix.dataset.hash]);
  });
});
