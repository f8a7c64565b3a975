/** How our parameters lie in a file: which tensors hold them, under what names, in what order. */
import type { ModelSpec } from "../../config/deriveModel.ts";

/** One tensor of the file: some rows of one of our parameters. */
export interface Piece {
  readonly name: string;
  /** In the file. */
  readonly shape: readonly number[];
  /** The file has it as [a, b, rest], we as [b, a, rest]: these are a and b. Absent: both have it in the same order. */
  readonly swap?: readonly [number, number];
}

/** One of our parameters. */
export interface HfTensor {
  readonly name: string;
  /** Ours; matrices are (out, in). */
  readonly shape: readonly number[];
  /** What the file has of it: in our order, one's rows follow the other's. */
  readonly pieces: readonly Piece[];
}

/** A parameter that the file has as we have it. */
export function same(name: string, fileName: string, ...shape: number[]): HfTensor {
  return { name, shape, pieces: [{ name: fileName, shape }] };
}

/**
 * A linear layer, (out, in) in the file too.
 *
 * @param parts names in the file with the number of rows of each, in our order
 */
export function linear(
  name: string,
  parts: Readonly<Record<string, number>>,
  inputs: number,
  bias: boolean,
): HfTensor[] {
  const rows = Object.values(parts).reduce((sum, count) => sum + count, 0);
  const tensor = (kind: string, ...rest: number[]): HfTensor => ({
    name: `${name}.${kind}`,
    shape: [rows, ...rest],
    pieces: Object.entries(parts).map(([part, count]) => ({
      name: `${part}.${kind}`,
      shape: [count, ...rest],
    })),
  });
  return [tensor("weight", inputs), ...(bias ? [tensor("bias")] : [])];
}

/** GPT-2's linear layer, (in, out) in the file, with a bias. */
export function conv1d(name: string, fileName: string, outputs: number, inputs: number): HfTensor[] {
  return [
    {
      name: `${name}.weight`,
      shape: [outputs, inputs],
      pieces: [{ name: `${fileName}.weight`, shape: [inputs, outputs], swap: [inputs, outputs] }],
    },
    same(`${name}.bias`, `${fileName}.bias`, outputs),
  ];
}

/** Queries, keys and values of BLOOM and GPT-NeoX: the file has them head by head, we one after the other. */
export function headByHead(
  name: string,
  fileName: string,
  { numHeads, headDim, modelDim }: ModelSpec,
): HfTensor[] {
  return linear(name, { [fileName]: 3 * numHeads * headDim }, modelDim, true).map((tensor) => ({
    ...tensor,
    pieces: tensor.pieces.map((piece) => ({ ...piece, swap: [numHeads, 3] as const })),
  }));
}

/** A norm of the model's kind. */
export function norm(name: string, fileName: string, spec: ModelSpec): HfTensor[] {
  const kinds = spec.norm === "layernorm" && spec.bias ? ["weight", "bias"] : ["weight"];
  return kinds.map((kind) => same(`${name}.${kind}`, `${fileName}.${kind}`, spec.modelDim));
}

/** The number of values of a tensor. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * A parameter in our order, from its pieces as the file has them.
 *
 * @param read a piece's values in parts, which are copied at once
 */
export function joinPieces(
  { shape, pieces }: HfTensor,
  read: (piece: Piece) => Iterable<Float32Array>,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(sizeOf(shape));
  let before = 0;
  for (const piece of pieces) {
    const into = values.subarray(before, before + sizeOf(piece.shape));
    before += into.length;
    let at = 0;
    for (const part of read(piece)) {
      if (piece.swap === undefined) into.set(part, at);
      else putSwapped(part, at, piece.swap, into);
      at += part.length;
    }
  }
  return values;
}

/** One piece of a parameter as the file has it, from the whole parameter in our order. May be a view of it. */
export function takePiece({ pieces }: HfTensor, piece: Piece, values: Float32Array): Float32Array {
  const before = pieces.slice(0, pieces.indexOf(piece)).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const part = values.subarray(before, before + sizeOf(piece.shape));
  return piece.swap === undefined ? part : swapAxes(part, piece.swap[1], piece.swap[0]);
}

/** (a, b, rest) -> (b, a, rest), both row-major. */
export function swapAxes(values: Float32Array, a: number, b: number): Float32Array<ArrayBuffer> {
  const swapped = new Float32Array(values.length);
  putSwapped(values, 0, [a, b], swapped);
  return swapped;
}

/** Puts the part of an (a, b, rest) that starts at its element `at` where it belongs in the whole (b, a, rest). */
function putSwapped(
  part: Float32Array,
  at: number,
  [a, b]: readonly [number, number],
  swapped: Float32Array,
): void {
  const rest = swapped.length / (a * b);
  let [row, k] = [Math.floor(at / rest), at % rest];
  for (let from = 0; from < part.length; row++, k = 0) {
    const to = ((row % b) * a + Math.floor(row / b)) * rest;
    while (k < rest && from < part.length) swapped[to + k++] = part[from++];
  }
}
