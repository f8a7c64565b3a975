/** One training step of a plain GPT in other WebGPU libraries. */

import type { StepPeer } from "./gpt.ts";
import { jaxStep } from "./step_jax.ts";
import { tfjsStep } from "./step_tfjs.ts";

export type { AdamW, Gpt, StepPeer, StepRun } from "./gpt.ts";

/** The libraries to compare with. */
export const stepPeers: readonly StepPeer[] = [jaxStep, tfjsStep];
