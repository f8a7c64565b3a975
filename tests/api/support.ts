import type { RunSettings } from "../../mod.ts";

export const TEXT = "the cat sat on the mat, and the dog sat on the cat.\n".repeat(12);

/** 4 steps of a tiny model on `TEXT`, in memory. */
export const TINY: RunSettings = {
  data: { text: TEXT },
  tokenizer: "chars",
  model: { numLayers: 1, modelDim: 8, numHeads: 2, seqLen: 8 },
  train: { batchSize: 3, duration: "4 steps" },
  optimizer: { warmup: "1 steps" },
  validation: { every: "2 steps", samples: 2 },
  checkpoint: { every: "2 steps", best: false },
  log: { every: 1, tensorboard: false },
  engine: { tune: false },
};
