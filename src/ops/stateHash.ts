import text from "../../shaders/state_hash.wgsl" with { type: "text" };
import type { Recorder } from "../gpu/recorder.ts";
import { type Arena, rowWindows, type Tensor } from "../gpu/tensor.ts";
import { stretches } from "./optimizers/stretches.ts";
import { shader } from "./rowwise.ts";

const source = shader("state_hash.wgsl", text);

/** Words that a workgroup hashes, part of the hash's definition: as many turns of 64 as fit a binding of 16 KiB. */
const BLOCK = 62 * 64;

/** Which of the sums the hash is, an integer of 24 bits. */
export const HASH_AT = 3;

/** Records a hash of all weights, one pass over them. @param sums (4) gets it behind the sums */
export function recordStateHash(recorder: Recorder, weights: Arena, sums: Tensor): void {
  const parts = stretches(weights, () => true).map(({ buffer, offset, bytes }) => {
    return weights.stretch(buffer, offset, bytes);
  });
  const totalBlocks = parts.reduce((sum, { size }) => sum + Math.ceil(size / BLOCK), 0);
  const partial = recorder.tensor("hashes", [totalBlocks], "u32"); // (blocks)
  recorder.segment("state hash", () => {
    let firstBlock = 0;
    for (const part of parts) {
      for (const { from, to } of rowWindows(part.size, recorder.limits, [1], BLOCK)) {
        recorder.dispatch(source.kernel({ STEP: "blocks", BLOCK, FIRST: firstBlock + from === 0 }), {
          tensors: { words: part.rows(from, to), partial },
          uniforms: { count: to - from, block0: firstBlock + Math.floor(from / BLOCK) },
          groups: Math.ceil((to - from) / BLOCK),
        });
      }
      firstBlock += Math.ceil(part.size / BLOCK);
    }
    recorder.dispatch(source.kernel({ STEP: "total" }), {
      tensors: { words: partial, sums },
      uniforms: { count: totalBlocks },
      groups: 1,
    });
  });
}
