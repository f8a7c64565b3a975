/** What a sum of gradients is once it has travelled, see `scale.wire`: also where it has nowhere to go. */
import type { RunConfig } from "../config/schema.ts";
import type { Engine } from "../engine/engine.ts";
import type { ErrorFeedback } from "./errorFeedback.ts";

export type Wire = RunConfig["scale"]["wire"];

/** Values at the end of a sum that are exact: of losses, targets and the like. */
export const EXACT_VALUES = 4;

const QUIET = 0x400000;
const INFINITY = 0x7f800000;

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

/** Rounds to nearest, ties to even, in place; a NaN stays one. */
export function roundToBf16(values: Float32Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const isNan = (word & 0x7fffffff) > INFINITY;
    words[i] = (isNan ? word | QUIET : word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  }
}
