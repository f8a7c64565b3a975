/**
 * A recorder that also keeps a tape: every op appends its forward dispatches and, if the graph is for training, a
 * hand-written backward, which `backward()` plays in reverse.
 *
 * Gradients of activations: the first writer sets (`=`), later ones add (`+=`); which of the two is a constant of the
 * kernel. Gradients of parameters are always added to the cleared gradient arena.
 */
import { Recorder, type Segment, type Stack } from "../gpu/recorder.ts";
import type { EngineLimits, Tensor } from "../gpu/tensor.ts";
import { addInto } from "./add.ts";

interface TapeEntry {
  readonly segment: Segment;
  readonly stack: Stack;
  readonly output: Tensor;
  readonly backward: (outputGradient: Tensor) => void;
}

/** Where an op's backward writes the gradient of one of its inputs. */
export interface GradientTarget {
  readonly tensor: Tensor;
  /** 1: add to what is there; 0: it is the first writer. */
  readonly accumulate: number;
}

export interface GraphOptions {
  /** Gradient arenas' tensors of the parameters; null: no backward is recorded. */
  readonly parameterGradients: ReadonlyMap<Tensor, Tensor> | null;
}

export class Graph extends Recorder {
  readonly #options: GraphOptions;
  readonly #tape: TapeEntry[] = [];
  readonly #gradients = new Map<Tensor, Tensor>();
  /** Tensors that were computed, or whose gradient is wanted for another reason. */
  readonly #differentiable = new Set<Tensor>();
  /** For a gradient tensor that serves several tensors: those whose producer has not read it yet. */
  readonly #waiting = new Map<Tensor, Set<Tensor>>();

  constructor(limits: EngineLimits, options: GraphOptions) {
    super(limits);
    this.#options = options;
  }

  get training(): boolean {
    return this.#options.parameterGradients !== null;
  }

  /** Asks for the gradient of an input that is no parameter (tests and checks do). */
  require(tensor: Tensor): void {
    this.#differentiable.add(tensor);
  }

  /** Says how the gradient of `output` becomes gradients of what it was made from. */
  onBackward(output: Tensor, backward: (outputGradient: Tensor) => void): void {
    if (!this.training) return;
    this.#differentiable.add(output);
    this.#tape.push({ segment: this.segments.at(-1)!, stack: this.stack, output, backward });
  }

  /** Where to write the gradient of an op's input; null: nobody wants it. */
  target(input: Tensor): GradientTarget | null {
    const parameter = this.#options.parameterGradients?.get(input);
    if (parameter !== undefined) return { tensor: parameter, accumulate: 1 };
    if (!this.#differentiable.has(input)) return null;
    const known = this.#gradients.get(input);
    if (known === undefined) {
      const tensor = this.tensor(`grad ${input.name}`, input.shape);
      this.#gradients.set(input, tensor);
      return { tensor, accumulate: 0 };
    }
    const others = this.#waiting.get(known);
    if (others !== undefined && [...others].some((owner) => owner !== input)) {
      // Someone else will still read this gradient as it is: go on with a copy.
      const copy = this.tensor(`grad ${input.name}`, input.shape);
      addInto(this, { tensor: copy, accumulate: 0 }, known);
      others.delete(input);
      this.#gradients.set(input, copy);
      return { tensor: copy, accumulate: 1 };
    }
    return { tensor: known, accumulate: 1 };
  }

  /** The gradient of `input` grows by `gradient` as it is; the first one is shared, not copied. */
  passOn(input: Tensor, gradient: Tensor): void {
    const isParameter = this.#options.parameterGradients?.has(input) ?? false;
    if (!isParameter && this.#differentiable.has(input) && !this.#gradients.has(input)) {
      this.#gradients.set(input, gradient);
      const owners = this.#waiting.get(gradient) ?? new Set();
      this.#waiting.set(gradient, owners.add(input));
      return;
    }
    const target = this.target(input);
    if (target !== null) addInto(this, target, gradient);
  }

  /** The gradient of a required tensor, after `backward()`. */
  gradientOf(tensor: Tensor): Tensor | undefined {
    return this.#options.parameterGradients?.get(tensor) ?? this.#gradients.get(tensor);
  }

  /** Starts the tape from outside: `gradient` is the gradient of `output`. */
  seed(output: Tensor, gradient: Tensor): void {
    this.#gradients.set(output, gradient);
  }

  /**
   * Plays the tape in reverse.
   * @param recomputed segments of the forward that are run again before their backward
   */
  backward(recomputed: ReadonlySet<string> = new Set()): void {
    let current: Segment | null = null;
    for (const { segment, stack, output, backward } of this.#tape.toReversed()) {
      const gradient = this.#gradients.get(output);
      if (gradient === undefined) continue; // nothing that counts came of it
      if (segment !== current) {
        this.segment(`${segment.name} backward`, () => {
          if (recomputed.has(segment.name)) this.repeat(segment);
        });
        current = segment;
      }
      this.inStack(stack, () => backward(gradient));
      this.#waiting.get(gradient)?.delete(output);
    }
  }
}
