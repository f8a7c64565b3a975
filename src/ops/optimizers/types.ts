import type { Live } from "../../gpu/kernel.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { Arena, type Tensor } from "../../gpu/tensor.ts";

/** What an optimizer's step works on. */
export interface UpdateTensors {
  readonly weights: Arena;
  /** Of the sum of the losses; in the layout of the weights. */
  readonly gradients: Arena;
  /** As `Optimizer.layOut` made it. */
  readonly state: readonly Arena[];
  /** (4) halt flag, factor for the gradients. */
  readonly control: Tensor;
  /** Does weight decay apply to this parameter? */
  decays(parameter: Tensor): boolean;
}

/** How gradients become steps. */
export interface Optimizer {
  /** What it remembers from step to step, zeros at first: tensors `<parameter>.<what>`, as a checkpoint names them. */
  layOut(weights: Arena): Arena[];
  /** Records the step on all parameters, which does nothing while the halt flag is up. */
  record(recorder: Recorder, tensors: UpdateTensors): void;
  /** What the kernels of a step need to know of it. @param step from 1 */
  live(step: number): Live;
}

/** A moment of the weights' own layout. */
export function layOutMoment(weights: Arena, moment: string): Arena {
  const arena = new Arena(moment, weights.maxBuffer);
  for (const { name, shape } of weights.tensors) arena.add(`${name}.${moment}`, shape);
  return arena;
}
