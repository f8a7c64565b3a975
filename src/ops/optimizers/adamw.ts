import adamwText from "../../../shaders/adamw.wgsl" with { type: "text" };
import { rowWindows } from "../../gpu/tensor.ts";
import { shader } from "../rowwise.ts";
import { stretches } from "./stretches.ts";
import { layOutMoment, type Optimizer } from "./types.ts";

const source = shader("adamw.wgsl", adamwText);

export interface AdamWOptions {
  readonly kind: "adamw";
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

/**
 * AdamW (Loshchilov and Hutter 2019), on all parameters as few flat stretches of their arenas. State: `moment1` and
 * `moment2` of each parameter, in its shape.
 */
export function adamw({ beta1, beta2, eps, weightDecay }: AdamWOptions): Optimizer {
  return {
    layOut: (weights) => ["moment1", "moment2"].map((moment) => layOutMoment(weights, moment)),

    record(recorder, tensors) {
      const arenas = [tensors.gradients, tensors.weights, ...tensors.state];
      recorder.segment("adamw", () => {
        for (const part of stretches(tensors.gradients, tensors.decays)) {
          const [gradients, weights, moment1, moment2] = arenas.map((arena) => {
            return arena.stretch(part.buffer, part.offset, part.bytes);
          });
          for (const { from, to } of rowWindows(part.bytes / 4, recorder.limits, [1], 4)) {
            recorder.dispatch(source.kernel(), {
              tensors: {
                control: tensors.control,
                gradients: gradients.rows(from, to),
                weights: weights.rows(from, to),
                moment1: moment1.rows(from, to),
                moment2: moment2.rows(from, to),
              },
              uniforms: { count: to - from, beta1, beta2, eps, decay: part.decays ? weightDecay : 0 },
              groups: Math.ceil((to - from) / 256),
              flops: 16 * (to - from),
            });
          }
        }
      });
    },

    live: (step) => ({ correction1: 1 / (1 - beta1 ** step), correction2: 1 / (1 - beta2 ** step) }),
  };
}
