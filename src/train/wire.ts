/** What a sum of gradients is once it has travelled, see `scale.wire`: also where it has nowhere to go. */
import type { RunConfig } from "../config/schema.ts";
import type { Engine } from "../engine/engine.ts";
import { EXACT_VALUES, roundToBf16 } from "./bf16.ts";
import type { ErrorFeedback } from "./errorFeedback.ts";

export type Wire = RunConfig["scale"]["wire"];

/**
 * Rounds the engine's sum as an exchange with other nodes would.
 *
 * @param feedback where the wire has one; is to be told whether the step was applied
 */
export async function roundSum(engine: Engine, wire: Wire, feedback: ErrorFeedback | null): Promise<void> {
  if (wire === "f32") return;
  const sum = await engine.readSum();
  feedback?.begin();
  feedback?.round(sum);
  roundToBf16(sum.subarray(0, sum.length - EXACT_VALUES));
  await engine.writeSum(sum);
}
