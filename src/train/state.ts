import { z } from "zod";

const count = z.int().min(0);

/** Where a run stands after a whole step, besides the tensors: state.json of a checkpoint. */
export const stateSchema = z.strictObject({
  /** Steps that are done: what schedules and Adam count. */
  step: count,
  /** Samples of those steps' batches. */
  samples: count,
  /** Tokens in those samples. */
  tokens: count,
  /** Samples dropped by skips and rollbacks: a step reads the data this much further on than planned. */
  sampleOffset: count,
  /** Step of the last validation, and of the last text sample. */
  validatedStep: count,
  sampledStep: count,
  /** The lowest validation loss so far. */
  best: z.strictObject({ step: count, loss: z.number() }).nullable(),
  /** How a group of nodes names the state, see net/control/messages.ts; null: the last step was done alone. */
  groupDigest: z.string().nullable().default(null),
  /** SHA-256 of the config, without the keys that may change in a run's life. */
  configDigest: z.string(),
  dataHash: z.string(),
  numericMode: z.string(),
  /** What the last step ran on: another adapter may round otherwise. */
  adapter: z.string(),
  /** Version of this library. */
  version: z.string(),
});

export type TrainState = Readonly<z.infer<typeof stateSchema>>;
