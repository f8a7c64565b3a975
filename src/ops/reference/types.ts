/** What every f64 reference of an op looks like, and how it reads its inputs. */

/** Tensors by name, row-major; ids are integers. */
export type Inputs = Readonly<Record<string, Input>>;
export interface Input {
  readonly shape: readonly number[];
  readonly values: Float64Array | Int32Array;
}
export type Options = Readonly<Record<string, number | string | boolean>>;

/** An op on the CPU in f64: the definition that its kernels are held against. */
export interface OpReference {
  forward(inputs: Inputs, options: Options): Float64Array;
  /** The gradient of every differentiable input; `dOut` has the output's shape. */
  backward(inputs: Inputs, dOut: Float64Array, options: Options): Record<string, Float64Array>;
}

/** The values of a tensor of floats. Throws an Error if there is none of that name. */
export function floats(inputs: Inputs, name: string): Float64Array {
  const values = inputs[name]?.values;
  if (!(values instanceof Float64Array)) throw new Error(`Input ${name} is not a tensor of floats`);
  return values;
}

/** The values of a tensor of ids. Throws an Error if there is none of that name. */
export function ids(inputs: Inputs, name: string): Int32Array {
  const values = inputs[name]?.values;
  if (!(values instanceof Int32Array)) throw new Error(`Input ${name} is not a tensor of ids`);
  return values;
}

/** An option that must be a number. */
export function numberOption(options: Options, name: string): number {
  const value = options[name];
  if (typeof value !== "number") throw new Error(`Option ${name} is ${value}, expected a number`);
  return value;
}
