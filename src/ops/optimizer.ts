import adamwText from "../../shaders/adamw.wgsl" with { type: "text" };
import normText from "../../shaders/gradient_norm.wgsl" with { type: "text" };
import type { Recorder } from "../gpu/recorder.ts";
import { alignUp, type Arena, rowWindows, type Tensor } from "../gpu/tensor.ts";
import { shader } from "./rowwise.ts";

const normSource = shader("gradient_norm.wgsl", normText);
const adamwSource = shader("adamw.wgsl", adamwText);

/** Gradients whose squares one workgroup sums. */
const BLOCK = 8192;

/** Steps whose results the GPU holds until the host reads them. */
export const RING_SLOTS = 256;
/** step, loss sum, sum of lse^2, targets, gradient norm, halt flag, 2 unused. */
export const RING_FIELDS = 8;

export interface OptimizerState {
  readonly weights: Arena;
  readonly gradients: Arena;
  readonly moment1: Arena;
  readonly moment2: Arena;
  /** (4) sum of losses, sum of lse^2, number of targets. */
  readonly sums: Tensor;
  /** (4) halt flag, factor for the gradients. */
  readonly control: Tensor;
  /** (RING_SLOTS, RING_FIELDS) */
  readonly ring: Tensor;
}

export interface OptimizerOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Largest global norm; 0: no clipping. */
  readonly clip: number;
  /** Does weight decay apply to this parameter? */
  decays(parameter: Tensor): boolean;
}

/** Tensors of one kind that lie side by side, as one flat stretch of an arena's buffer. */
interface Stretch {
  readonly buffer: number;
  readonly offset: number;
  bytes: number;
  readonly decays: boolean;
}

function stretches(arena: Arena, decays: (tensor: Tensor) => boolean): Stretch[] {
  const found: Stretch[] = [];
  for (const tensor of arena.tensors) {
    const { buffer, offset } = tensor.place!;
    const last = found.at(-1);
    const kind = decays(tensor);
    if (last !== undefined && last.buffer === buffer && last.decays === kind) {
      last.bytes = offset - last.offset + alignUp(tensor.bytes);
    } else found.push({ buffer, offset, bytes: alignUp(tensor.bytes), decays: kind });
  }
  return found;
}

/** Records the update: gradient norm, clipping, verdict, AdamW. The padding between tensors is 0 and stays 0. */
export function recordUpdate(recorder: Recorder, state: OptimizerState, options: OptimizerOptions): void {
  const parts = stretches(state.gradients, options.decays);
  const windowsOf = (part: Stretch) => rowWindows(part.bytes / 4, recorder.limits, [1], BLOCK);
  // A binding may hold less than a block.
  const totalBlocks = parts.flatMap(windowsOf).reduce((sum, { from, to }) => {
    return sum + Math.ceil((to - from) / BLOCK);
  }, 0);
  const partial = recorder.tensor("squares", [totalBlocks]); // (blocks)
  recorder.segment("gradient norm", () => {
    let block0 = 0;
    let isFirst = true;
    for (const part of parts) {
      const gradients = state.gradients.stretch(part.buffer, part.offset, part.bytes);
      for (const { from, to } of windowsOf(part)) {
        const blocks = Math.ceil((to - from) / BLOCK);
        recorder.dispatch(normSource.kernel({ STEP: "blocks", FIRST: isFirst, BLOCK }), {
          tensors: { gradients: gradients.rows(from, to), sums: state.sums, partial },
          uniforms: { count: to - from, block0 },
          groups: blocks,
          flops: 2 * (to - from),
        });
        block0 += blocks;
        isFirst = false;
      }
    }
    recorder.dispatch(normSource.kernel({ STEP: "total", FIRST: false, BLOCK }), {
      tensors: { partial, sums: state.sums, control: state.control, ring: state.ring },
      uniforms: { blocks: totalBlocks, clip: options.clip },
      groups: 1,
      flops: totalBlocks,
    });
  });
  recorder.segment("adamw", () => {
    for (const part of parts) {
      const [gradients, weights, moment1, moment2] = [
        state.gradients,
        state.weights,
        state.moment1,
        state.moment2,
      ]
        .map((arena) => arena.stretch(part.buffer, part.offset, part.bytes));
      for (const { from, to } of windowsOf(part)) {
        recorder.dispatch(adamwSource.kernel(), {
          tensors: {
            control: state.control,
            gradients: gradients.rows(from, to),
            weights: weights.rows(from, to),
            moment1: moment1.rows(from, to),
            moment2: moment2.rows(from, to),
          },
          uniforms: {
            count: to - from,
            beta1: options.beta1,
            beta2: options.beta2,
            eps: options.eps,
            decay: part.decays ? options.weightDecay : 0,
          },
          groups: Math.ceil((to - from) / 256),
          flops: 16 * (to - from),
        });
      }
    }
  });
}
