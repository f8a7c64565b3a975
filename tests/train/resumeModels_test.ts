import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { trainRun } from "../../src/api/train.ts";
import { bindingCap, testGpu } from "../_gpu.ts";
import { tinyConfig, withFolder } from "./tinyRun.ts";

const TEXT = "a cab can bend a bead<|endoftext|>and a bee<|endoftext|>can add a decade ".repeat(15);

/** Runs of 7 steps whose batches grow, in three virtual workers' shares: models that have all kinds of state between them. */
const RUNS: Record<string, readonly string[]> = {
  "an encoder and decoder that learns spans, with dropout": [
    "model.architecture=encoderDecoder",
    "model.numEncoderLayers=2",
    "model.positions=t5",
    "model.t5NumBuckets=4",
    "model.t5MaxDistance=6",
    "model.norm=rmsnorm",
    "model.activation=gegluTanh",
    "model.dropout=0.2",
    "model.attentionDropout=0.1",
    "objective.kind=span",
    "optimizer.kind=adafactor",
  ],
  "a non-causal decoder that learns behind prefixes, with dropout": [
    "model.architecture=nonCausalDecoder",
    "model.positions=alibi",
    "model.numKvHeads=1",
    "model.attentionDropout=0.2",
    "model.tied=false",
    "objective.kind=prefix",
  ],
  "a causal decoder of separate documents whose rotary positions restart": [
    "model.positions=rotary",
    "model.attention=alternating",
    "model.window=2",
    "model.numLayers=2",
    "model.qkNorm=true",
    "model.dropout=0.1",
    "packing.separate=true",
    "packing.restartPositions=true",
  ],
  "a causal decoder that learns spans, with T5's bias and a norm of embeddings": [
    "model.positions=t5",
    "model.t5NumBuckets=4",
    "model.t5MaxDistance=6",
    "model.embeddingNorm=true",
    "model.parallelResidual=true",
    "model.initStd=null",
    "objective.kind=span",
  ],
};

Object.entries(RUNS).forEach(([name, overrides], i) => {
  Deno.test(`runTraining() stopped and resumed comes to the same bits with ${name}`, async () => {
    const { device } = await testGpu();
    const config = tinyConfig(
      "scale.virtualWorkers=3",
      "log.every=1",
      "engine.tune=false",
      `engine.maxBinding=${bindingCap()}`,
      ...overrides,
    );
    const stopped = 2 + i; // before and after the checkpoint of step 3, within the ramp-up and behind it
    await withFolder(async (folder) => {
      const whole = await trainRun(config, { folder: join(folder, "whole"), device }, TEXT);
      const run = join(folder, "stopped");
      const stop = new AbortController();
      const losses: number[] = [];
      const first = await trainRun(config, {
        folder: run,
        device,
        signal: stop.signal,
        onProgress: ({ step, loss }) => {
          losses.push(loss);
          if (step === stopped) stop.abort();
        },
      }, TEXT);
      assertEquals([first.steps, first.interrupted], [stopped, true]);
      assertNotEquals(losses[0], losses[1]);
      const rest = await trainRun(config, { folder: run, device }, TEXT);
      const came = ({ steps, digest, finalLoss, validation }: typeof rest) => {
        return { steps, digest, finalLoss, validation };
      };
      assertEquals(came(rest), came(whole));
    });
  });
});
