import { normals, Stream, uniform } from "../../random.ts";
import type { Options } from "../reference/types.ts";

export type OpName =
  | "embedding"
  | "scale"
  | "rotary"
  | "linear"
  | "layerNorm"
  | "rmsNorm"
  | "headNorm"
  | "activation"
  | "add"
  | "dropout"
  | "attention"
  | "crossEntropy"
  | "gradNorm"
  | "adamw"
  | "adafactor";

/** An input of a case, row-major. */
export interface OpTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly kind: "float" | "ids";
  /** Differentiable: a gradient is checked. */
  readonly grad: boolean;
  readonly values: Float32Array | Int32Array;
}

/** An op at one size and with one set of options. */
export interface OpCase {
  readonly op: OpName;
  /** Unique among the cases of its op. */
  readonly name: string;
  readonly options: Options;
  /** `tiny`: awkward; `model`: as in a small real model. */
  readonly sizes: "tiny" | "model";
  /** Makes the inputs; the same values on every call. */
  tensors(): OpTensor[];
}

/** A tensor whose values are yet to be drawn, from substream `sub` of the tests' random numbers. */
export interface TensorSpec extends Omit<OpTensor, "values"> {
  draw(sub: number): Float32Array | Int32Array;
}

/** A case with these inputs. */
export function makeCase(
  op: OpName,
  name: string,
  options: Options,
  specs: readonly TensorSpec[],
  sizes: OpCase["sizes"] = "tiny",
): OpCase {
  const tensors = () => specs.map(({ draw, ...tensor }, sub) => ({ ...tensor, values: draw(sub) }));
  return { op, name, options, sizes, tensors };
}

interface Drawing {
  /** Is a gradient checked? Default: yes. */
  readonly grad?: boolean;
  /** Makes the value out of the number drawn, which is from N(0, 1). */
  readonly map?: (value: number) => number;
}

/** Floats, from N(0, 1) where `map` doesn't say otherwise. */
export function floatTensor(
  name: string,
  shape: readonly number[],
  { grad = true, map = (value) => value }: Drawing = {},
): TensorSpec {
  return {
    name,
    shape,
    kind: "float",
    grad,
    draw: (sub) => normals(size(shape), 1, 0, Stream.test, sub).map(map),
  };
}

/** Ids, uniform in [0, limit) where `map` doesn't say otherwise. */
export function idTensor(
  name: string,
  shape: readonly number[],
  limit: number,
  map: (id: number, index: number) => number = (id) => id,
): TensorSpec {
  const id = (sub: number, index: number) => Math.floor(uniform(0, Stream.test, sub, index) * limit);
  const draw = (sub: number) =>
    Int32Array.from({ length: size(shape) }, (_, index) => map(id(sub, index), index));
  return { name, shape, kind: "ids", grad: false, draw };
}

function size(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}
