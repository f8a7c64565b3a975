import { assertEquals } from "@std/assert";
import { PLAIN_GPT } from "../../src/config/deriveModel.ts";
import { ownFormat, readModelConfig } from "../../src/train/modelFormat.ts";

Deno.test("readModelConfig() reads what was written before there was a cap of the logits", () => {
  const spec = {
    ...PLAIN_GPT,
    numLayers: 1,
    vocabSize: 64,
    seqLen: 8,
    modelDim: 8,
    numHeads: 2,
    numKvHeads: 2,
    headDim: 4,
    ffnDim: 16,
  };
  const { logitSoftCap: _, ...older } = {
    model_type: "bloomery",
    ...ownFormat.writeConfig(spec, {}),
  } as Record<string, unknown>;
  assertEquals(readModelConfig(older, () => true), { ...spec, logitSoftCap: null });
});
