import normText from "../../../shaders/gradient_norm.wgsl" with { type: "text" };
import type { Recorder } from "../../gpu/recorder.ts";
import { rowWindows, type Tensor } from "../../gpu/tensor.ts";
import { shader } from "../rowwise.ts";
import { stretches } from "./stretches.ts";
import type { UpdateTensors } from "./types.ts";

const source = shader("gradient_norm.wgsl", normText);

/** Gradients whose squares one workgroup sums: part of the canonical order. */
const BLOCK = 8192;
/** Chains of a block's sum. */
const CHAINS = 256;

export interface GradientNormTensors extends Pick<UpdateTensors, "gradients" | "control" | "decays"> {
  /** (4) sum of losses, sum of lse^2, number of targets. */
  readonly sums: Tensor;
  /** (RING_SLOTS, RING_FIELDS) */
  readonly ring: Tensor;
}

/** Records the global gradient norm, the factor that clips it to `clip` (0: not), the verdict, and the step's results. */
export function recordGradientNorm(recorder: Recorder, tensors: GradientNormTensors, clip: number): void {
  const { gradients, sums, control, ring, decays } = tensors;
  const parts = stretches(gradients, decays).map(({ buffer, offset, bytes }) => {
    return gradients.stretch(buffer, offset, bytes);
  });
  const totalBlocks = parts.reduce((sum, { size }) => sum + Math.ceil(size / BLOCK), 0);
  const partial = recorder.tensor("squares", [totalBlocks]); // (blocks)
  recorder.segment("gradient norm", () => {
    const begun = recorder.tensor("begun block", [CHAINS]); // where a binding holds less than a block
    let firstBlock = 0;
    let FIRST = true;
    for (const part of parts) {
      for (const { from, to } of rowWindows(part.size, recorder.limits, [1], BLOCK)) {
        const GOES_ON = from % BLOCK !== 0;
        const ENDS = to % BLOCK === 0 || to === part.size;
        recorder.dispatch(source.kernel({ STEP: "blocks", FIRST, BLOCK, GOES_ON, ENDS }), {
          tensors: {
            gradients: part.rows(from, to),
            sums,
            ...(ENDS ? { partial } : {}),
            ...(GOES_ON || !ENDS ? { begun } : {}),
          },
          uniforms: { count: to - from, block0: firstBlock + Math.floor(from / BLOCK) },
          groups: Math.ceil((to - from) / BLOCK),
          flops: 2 * (to - from),
        });
        if (ENDS) FIRST = false;
      }
      firstBlock += Math.ceil(part.size / BLOCK);
    }
    recorder.dispatch(source.kernel({ STEP: "total", BLOCK }), {
      tensors: { partial, sums, control, ring },
      uniforms: { blocks: totalBlocks, clip },
      groups: 1,
      flops: totalBlocks,
    });
  });
}
